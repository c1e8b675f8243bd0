"""How well a CapFilt filter told right web texts from wrong ones, where that is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mmtk.api import StageContext, StageError, read_columns
from mmtk_eval.scores import roc_auc
from mmtk_eval.wording import words

LEDGER_COLUMNS = ["key", "source", "text", "itm_probability", "itc_similarity", "decision"]
TRUTH_COLUMNS = ["key", "clean", "noise_kind", "label"]

Row = dict[str, Any]


class EvaluateFilterStage:
    """Writes ``filter.json``; a figure that is undefined (no wrong text, nothing dropped) is left out."""

    def __init__(self, *, ledger: Path, truth: Path) -> None:
        self._ledger = ledger
        self._truth = truth

    def run(self, context: StageContext) -> None:
        """Raises DataError when a file lacks a column, StageError when the truth lacks a key."""
        ledger = read_columns(self._ledger, LEDGER_COLUMNS).to_pylist()
        truth = {row["key"]: row for row in read_columns(self._truth, TRUTH_COLUMNS).to_pylist()}
        figures = filter_figures(ledger, truth)
        text = json.dumps(figures, indent=2, allow_nan=False)
        (context.folder / "filter.json").write_text(text + "\n", encoding="utf-8")


def filter_figures(ledger: Sequence[Row], truth: Mapping[str, Row]) -> dict[str, float]:
    """Compare a ledger's rows with the truth by key.

    Returns:
        ``roc_auc`` and ``roc_auc_itc``: chance that a right web text scores above a wrong one, by ITM
        probability and by ITC similarity, over the texts that were scored. ``dropped_precision``: share of
        the dropped web texts that were wrong; ``dropped_recall``: share of the wrong that were dropped;
        ``dropped_precision/KIND`` and ``dropped_recall/KIND``: both as if that kind of noise were the only
        one. ``wrong_before`` and ``wrong_after``: share of wrong ones
        among all and among kept web texts. ``synthetic_right`` and ``synthetic_kept_right``: share of the
        synthetic texts (written, kept) that equal the true label but for case and punctuation. ``web_texts``
        and ``synthetic_texts``: counts.
    """
    texts = [row for row in ledger if row["source"] in ("web", "synthetic")]
    unknown = sorted({row["key"] for row in texts} - truth.keys())
    if unknown:
        raise StageError(f"the truth lacks {len(unknown)} of the ledger's images, such as {unknown[0]!r}")
    web = [row for row in texts if row["source"] == "web"]
    right = [row for row in web if truth[row["key"]]["clean"]]
    wrong = [row for row in web if not truth[row["key"]]["clean"]]
    synthetic = [row for row in texts if row["source"] == "synthetic"]
    synthetic_right = [row for row in synthetic if words(row["text"]) == words(truth[row["key"]]["label"])]
    figures = {
        "web_texts": len(web),
        "synthetic_texts": len(synthetic),
        "roc_auc": auc(right, wrong, "itm_probability"),
        "roc_auc_itc": auc(right, wrong, "itc_similarity"),
        "dropped_precision": share(dropped(wrong), dropped(web)),
        "dropped_recall": share(dropped(wrong), wrong),
        "wrong_before": share(wrong, web),
        "wrong_after": share(kept(wrong), kept(web)),
        "synthetic_right": share(synthetic_right, synthetic),
        "synthetic_kept_right": share(kept(synthetic_right), kept(synthetic)),
    }
    for kind in sorted({truth[row["key"]]["noise_kind"] or "unnamed" for row in wrong}):
        of_kind = [row for row in wrong if (truth[row["key"]]["noise_kind"] or "unnamed") == kind]
        figures[f"dropped_precision/{kind}"] = share(dropped(of_kind), dropped([*of_kind, *right]))
        figures[f"dropped_recall/{kind}"] = share(dropped(of_kind), of_kind)
    return {name: value for name, value in figures.items() if value is not None}


def kept(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["decision"] == "kept"]


def dropped(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["decision"] == "dropped"]


def share(part: Sequence[Row], whole: Sequence[Row]) -> float | None:
    """Size of ``part`` over that of ``whole``; None where the whole is empty."""
    return len(part) / len(whole) if whole else None


def auc(right: Sequence[Row], wrong: Sequence[Row], column: str) -> float | None:
    """Chance that a right text scores above a wrong one; None where either has no score."""
    above, below = (
        torch.tensor([row[column] for row in rows if row[column] is not None]) for rows in (right, wrong)
    )
    return roc_auc(above, below) if len(above) and len(below) else None
