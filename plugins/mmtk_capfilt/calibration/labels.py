"""Which texts of a ledger are right, as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.compute as pc

from mmtk.api import SYNTHETIC, DataError
from mmtk.data.tables import read_table
from mmtk.registry import Registry, nearest
from mmtk.stages.stored import outputs_of
from mmtk_capfilt.calibration.figures import Judged
from mmtk_capfilt.ledger import read_ledger, score_names
from mmtk_eval.api import words

Row = Mapping[str, Any]


def judged_texts(path: Path, labels: Path, score: str, source: str) -> Judged:
    """The texts of a source that have both a score and a label.

    Args:
        labels: a table with the columns ``key`` and ``clean``, whether the text is right. With a column
            ``text`` a row is about that text, otherwise about the web texts of the image; of synthetic texts
            it then takes a column ``label``, and those are right that say the same.

    Raises DataError when a file can't be read or lacks a column, or no text has both.
    """
    ledger = read_ledger(path)
    if score not in score_names(ledger.schema):
        known = score_names(ledger.schema)
        near = nearest(score, known)
        hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(known)}"
        raise DataError(f"{path} has no score '{score}'; {hint}")
    texts = ledger.filter(pc.and_(pc.equal(ledger["source"], source), pc.is_valid(ledger[score])))
    known = _read_labels(labels, source)
    right, scores = [], []
    for row in texts.select(["key", "text", score]).to_pylist():
        verdict = known.verdict(row["key"], row["text"])
        if verdict is not None:
            right.append(verdict)
            scores.append(row[score])
    if not right:
        raise DataError(
            f"{labels} labels none of the {len(texts)} {source} texts that have an {score} in {path}; "
            "do its keys belong to this ledger?"
        )
    return Judged(
        score,
        f"labelled {source} texts with an {score}",
        np.asarray(scores, np.float64),
        np.asarray(right, np.bool_),
    )


def find_labels(ledger: Path, registry: Registry) -> Path:
    """The labels that the data of the ledger's run brings along. Raises DataError unless there is one table."""
    found = outputs_of(ledger.absolute().parent.parent, "truth", registry)
    if len(found) == 1:
        return found[0]
    which = f"several tables of labels, {' and '.join(map(str, found))}" if found else "no labels"
    raise DataError(
        f"{ledger}: its run has {which}; name a table with --labels, with the columns key and clean "
        "(whether the text is right), or take human pairs with --pairs"
    )


class _Labels:
    """What is known of texts, by key or by key and text."""

    def __init__(self, rows: list[Row], by_text: bool, by_meaning: bool) -> None:
        self._by_text = by_text
        self._by_meaning = by_meaning
        self._rows = {(row["key"], row["text"] if by_text else ""): row for row in rows}

    def verdict(self, key: str, text: str) -> bool | None:
        """Whether a text is right; None where nothing is known of it."""
        row = self._rows.get((key, text if self._by_text else ""))
        if row is None:
            return None
        if self._by_meaning:
            return bool(words(text) == words(row["label"]))
        return None if row["clean"] is None else bool(row["clean"])


def _read_labels(path: Path, source: str) -> _Labels:
    table = _read_csv(path) if path.suffix == ".csv" else read_table(path)
    by_text = "text" in table.column_names
    by_meaning = source == SYNTHETIC and not by_text
    needed = ["key", *(["label"] if by_meaning else ["clean"])]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        also = " or text" if by_meaning else ""
        raise DataError(f"{path} has no column {' and '.join(missing)}{also}; it has {', '.join(table.column_names)}")
    types = {"key": pa.string(), "text": pa.string(), "label": pa.string(), "clean": pa.bool_()}
    try:
        columns = {name: table[name].cast(types[name]) for name in [*needed, *(["text"] if by_text else [])]}
    except pa.ArrowException as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}; clean is true or false") from error
    return _Labels(pa.table(columns).to_pylist(), by_text, by_meaning)


def _read_csv(path: Path) -> pa.Table:
    # Keys and texts stay as they are written: 000123 is no number.
    kept = {"key": pa.string(), "text": pa.string(), "label": pa.string()}
    try:
        return pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=kept))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} can't be read as a CSV file: {str(error).splitlines()[0]}") from error
