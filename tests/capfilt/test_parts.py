from __future__ import annotations

from pathlib import Path

import pytest
from mmtk_capfilt.ledger import LedgerRow, schema, to_table
from mmtk_capfilt.parts import WEB_DATASET, FinishedParts, Part, cut, write_json, write_table

from mmtk.errors import DataError

COLUMNS = schema((), ())


def test_datasets_are_cut_in_their_order_and_never_mixed() -> None:
    parts = cut(
        {WEB_DATASET: 5, "coco": 2, "none": 0, "vg": 3}, {WEB_DATASET: 0, "coco": 2, "none": 2, "vg": 1}, 2
    )
    assert parts == [
        Part(0, WEB_DATASET, 0, range(0, 2)),
        Part(1, WEB_DATASET, 0, range(2, 4)),
        Part(2, WEB_DATASET, 0, range(4, 5)),
        Part(3, "coco", 2, range(0, 2)),
        Part(4, "vg", 1, range(0, 2)),
        Part(5, "vg", 1, range(2, 3)),
    ]


def test_a_part_is_finished_when_its_ledger_is_there(tmp_path: Path) -> None:
    parts = cut({WEB_DATASET: 6}, {WEB_DATASET: 0}, 2)
    finished = FinishedParts(tmp_path / "parts")
    assert finished.unfinished(parts) == [0, 1, 2]
    finished.write(
        1, to_table([LedgerRow("s", "k", "i", "web", "a"), LedgerRow("s", "l", "i", "web", "b")], COLUMNS), 5
    )
    finished.write(2, to_table([], COLUMNS), 0)
    assert finished.unfinished(parts) == [0]
    tables, written = finished.read(parts[1:])
    assert (list(map(len, tables)), written) == ([2, 0], 5)
    assert tables[0]["key"].to_pylist() == ["k", "l"]
    assert [path.name for path in finished.path(1).parent.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_ledger_of_a_part_is_named(tmp_path: Path) -> None:
    finished = FinishedParts(tmp_path)
    finished.path(0).write_bytes(b"")
    with pytest.raises(DataError, match=r"000000\.parquet can't be read"):
        finished.read(cut({WEB_DATASET: 1}, {WEB_DATASET: 0}, 1))


def test_what_can_not_be_written_whole_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json({"a": "ä"}, path)
    with pytest.raises(TypeError):
        write_json({"a": {1, 2}}, path)
    assert path.read_text("utf-8") == '{\n  "a": "ä"\n}\n'
    table = tmp_path / "a.parquet"
    write_table(to_table([], COLUMNS), table)
    before = table.read_bytes()
    with pytest.raises(AttributeError):
        write_table(None, table)
    assert table.read_bytes() == before
