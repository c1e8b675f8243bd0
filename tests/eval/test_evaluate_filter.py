from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmtk_eval.evaluate_filter import EvaluateFilterStage, filter_figures

from mmtk.errors import DataError, StageError
from tests.small_learner import stage_context


def text(key: str, source: str, words: str, probability: float | None, *, kept: bool) -> dict[str, Any]:
    similarity = None if probability is None else 1 - probability
    return {
        "key": key,
        "source": source,
        "text": words,
        "itm_probability": probability,
        "itc_similarity": similarity,
        "decision": "kept" if kept else "dropped",
    }


def fact(key: str, label: str, noise_kind: str | None = None) -> dict[str, Any]:
    return {"key": key, "clean": noise_kind is None, "noise_kind": noise_kind, "label": label}


TRUTH = [
    fact("a", "cat"),
    fact("b", "dog"),
    fact("c", "cow", "swap"),
    fact("d", "owl", "swap"),
    fact("e", "ant", "tags"),
]
LEDGER = [
    text("a", "web", "cat", 0.9, kept=True),
    text("a", "synthetic", "A cat!", 0.8, kept=True),
    text("b", "web", "dog", 0.4, kept=False),
    text("b", "synthetic", "Dog", 0.6, kept=True),
    text("c", "web", "pig", 0.6, kept=True),
    text("d", "web", "pig", 0.1, kept=False),
    text("d", "synthetic", "owl", 0.3, kept=False),
    text("e", "web", "…", None, kept=False),
    {
        "key": "unread",
        "source": "image",
        "text": "",
        "itm_probability": None,
        "itc_similarity": None,
        "decision": "failed",
    },
]


def by_key(truth: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in truth}


def test_figures_by_hand() -> None:
    assert filter_figures(LEDGER, by_key(TRUTH)) == pytest.approx(
        {
            "web_texts": 5,
            "synthetic_texts": 3,
            "roc_auc": 3 / 4,  # 0.9 beats 0.6 and 0.1; 0.4 beats 0.1 alone; the unscored one is left out
            "roc_auc_itc": 1 / 4,
            "dropped_precision": 2 / 3,  # d and e of b, d and e
            "dropped_recall": 2 / 3,  # d and e of c, d and e
            "dropped_precision/swap": 1 / 2,  # d of b and d
            "dropped_precision/tags": 1 / 2,  # e of b and e
            "dropped_recall/swap": 1 / 2,
            "dropped_recall/tags": 1.0,
            "wrong_before": 3 / 5,
            "wrong_after": 1 / 2,
            "synthetic_right": 2 / 3,  # Dog and owl; "A cat!" is not "cat"
            "synthetic_kept_right": 1 / 2,
        }
    )


def test_what_is_undefined_is_left_out() -> None:
    figures = filter_figures([text("a", "web", "cat", 0.9, kept=True)], by_key(TRUTH))
    assert figures == {"web_texts": 1, "synthetic_texts": 0, "wrong_before": 0.0, "wrong_after": 0.0}


def test_images_that_the_truth_lacks_are_an_error() -> None:
    with pytest.raises(StageError, match=r"lacks 1 of the ledger's images, such as 'z'"):
        filter_figures([text("z", "web", "cat", 0.9, kept=True)], by_key(TRUTH))


def test_the_stage_reads_and_writes_files(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(LEDGER), tmp_path / "ledger.parquet")
    pq.write_table(pa.Table.from_pylist(TRUTH), tmp_path / "truth.parquet")
    stage = EvaluateFilterStage(ledger=tmp_path / "ledger.parquet", truth=tmp_path / "truth.parquet")
    stage.run(stage_context(tmp_path / "stage"))
    figures = json.loads((tmp_path / "stage" / "filter.json").read_text("utf-8"))
    assert figures == pytest.approx(filter_figures(LEDGER, by_key(TRUTH)))


def test_a_missing_column_is_an_error_that_names_it(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(LEDGER), tmp_path / "ledger.parquet")
    pq.write_table(pa.table({"key": ["a"], "clean": [True]}), tmp_path / "truth.parquet")
    stage = EvaluateFilterStage(ledger=tmp_path / "ledger.parquet", truth=tmp_path / "truth.parquet")
    with pytest.raises(DataError, match=r"truth.parquet has no column label, noise_kind"):
        stage.run(stage_context(tmp_path / "stage"))
