from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmtk_capfilt.report.explorer_truth import RIGHT, Agreement, agreement, read_labels

from mmtk.api import DataError
from tests.capfilt.report.samples import ledger_table, pair, text_row, write_truth

ROWS = [
    *pair("swap-1", 0.1, 0.9),
    *pair("swap-2", 0.9, 0.1),
    *pair("swap-3", 0.2, 0.1),
    *pair("tags-1", 0.8, 0.1),
    *pair("right-1", 0.9, 0.1),
    *pair("right-2", 0.3, 0.9),
    *pair("right-3", 0.7, 0.9),
    text_row("human", "human", "by a person", None),
]
NOISE = (
    {f"swap-{n}": "swap" for n in (1, 2, 3)} | {"tags-1": "tags"} | {f"right-{n}": None for n in (1, 2, 3)}
)


def test_drops_by_kind_against_the_right_texts(tmp_path: Path) -> None:
    ledger = ledger_table(ROWS)
    rows = agreement(ledger, read_labels(write_truth(tmp_path, NOISE), ledger))
    assert rows == [
        Agreement("swap", 3, 2, 2 / 3),
        Agreement("tags", 1, 0, 0.0),
        Agreement("", 4, 2, 2 / 3),
        Agreement(RIGHT, 3, 1, None),
    ]
    assert [row.recall for row in rows] == [2 / 3, 0, 0.5, 1 / 3]


def test_agrees_with_the_stage_that_evaluates_filters(tmp_path: Path) -> None:
    from mmtk_eval.evaluate_filter import filter_figures

    ledger = ledger_table(ROWS)
    truth = {row["key"]: row for row in pq.read_table(write_truth(tmp_path, NOISE)).to_pylist()}
    figures = filter_figures(ledger.to_pylist(), truth)
    rows = {row.noise: row for row in agreement(ledger, read_labels(tmp_path / "truth.parquet", ledger))}
    assert rows[""].precision == figures["dropped_precision"]
    assert rows[""].recall == figures["dropped_recall"]
    assert rows["swap"].recall == figures["dropped_recall/swap"]


def test_wrong_texts_without_a_kind_and_images_without_a_label(tmp_path: Path) -> None:
    ledger = ledger_table([*pair("a", 0.1, 0.9), *pair("unknown", 0.1, 0.9)])
    path = tmp_path / "truth.parquet"
    pq.write_table(
        pa.table(
            {"key": ["a"], "clean": [False], "noise_kind": pa.array([None], pa.string()), "label": ["x"]}
        ),
        path,
    )
    assert agreement(ledger, read_labels(path, ledger))[0] == Agreement("unnamed", 1, 1, 1.0)


def test_nothing_dropped_has_no_precision(tmp_path: Path) -> None:
    ledger = ledger_table(pair("a", 0.9, 0.9))
    rows = agreement(ledger, read_labels(write_truth(tmp_path, {"a": "swap"}), ledger))
    assert rows == [Agreement("swap", 1, 0, None), Agreement("", 1, 0, None), Agreement(RIGHT, 0, 0, None)]
    assert rows[-1].recall is None


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"truth\.parquet knows none of the ledger's images, such as 'a'"):
        read_labels(write_truth(tmp_path, {"b": None}), ledger_table(pair("a", 0.9, 0.9)))
