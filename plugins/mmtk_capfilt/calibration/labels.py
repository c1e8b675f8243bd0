"""Which texts of a ledger are right, as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from mmtk_eval.api import words
from pyarrow import csv

from mmtk.api import SYNTHETIC, DataError, Registry, outputs_of, read_table, spelling_hint
from mmtk_capfilt.calibration.figures import Judged
from mmtk_capfilt.ledger import read_ledger, score_names

Row = Mapping[str, Any]
_TYPES = {"key": pa.string(), "text": pa.string(), "label": pa.string(), "clean": pa.bool_()}


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
        names = score_names(ledger.schema)
        hint = spelling_hint(score, names)
        raise DataError(f"{path} has no score '{score}'; {hint}")
    texts = ledger.filter(pc.and_(pc.equal(ledger["source"], source), pc.is_valid(ledger[score])))
    if not len(texts):
        raise DataError(f"{path}: no {source} text has the score {score}")
    known = _read_labels(labels, source)
    right, scores = [], []
    for row in texts.select(["key", "text", score]).to_pylist():
        verdict = known.verdict(row["key"], row["text"])
        if verdict is not None:
            right.append(verdict)
            scores.append(row[score])
    if not right:
        raise DataError(
            f"{labels} labels none of the {len(texts)} {source} texts that have the score {score} in {path}; "
            "do its keys belong to this ledger?"
        )
    return Judged(
        score,
        f"labelled {source} texts with the score {score}",
        np.asarray(scores, np.float64),
        np.asarray(right, np.bool_),
    )


def find_labels(ledger: Path, registry: Registry) -> Path:
    """The labels that the ledger's run has with its data. Raises DataError unless there is one table."""
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

    def __init__(self, rows: Sequence[Row], column: str, *, by_text: bool) -> None:
        self._by_text = by_text
        self._column = column
        self._rows = {(row["key"], row["text"] if by_text else ""): row for row in rows}

    def verdict(self, key: str, text: str) -> bool | None:
        """Whether a text is right; None where nothing is known of it."""
        row = self._rows.get((key, text if self._by_text else ""))
        if row is None or row[self._column] is None:
            return None
        return words(text) == words(row["label"]) if self._column == "label" else bool(row["clean"])


def _read_labels(path: Path, source: str) -> _Labels:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of labels")
    table = _read_csv(path) if path.suffix == ".csv" else read_table(path)
    by_text = "text" in table.column_names
    column = "label" if source == SYNTHETIC and not by_text else "clean"
    needed = ["key", column, *(["text"] if by_text else [])]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        also = ", nor text and clean" if column == "label" else ""
        has = ", ".join(table.column_names)
        raise DataError(f"{path} has no column {' and '.join(missing)}{also}; it has {has}")
    try:
        plain = pa.table({name: table[name].cast(_TYPES[name]) for name in needed}).to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}; clean is true or false") from error
    return _Labels(plain, column, by_text=by_text)


def _read_csv(path: Path) -> pa.Table:
    # Keys and texts stay as they are written: 000123 is no number.
    as_written = {name: kind for name, kind in _TYPES.items() if name != "clean"}
    try:
        return csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=as_written))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} can't be read as a CSV file: {str(error).splitlines()[0]}") from error
