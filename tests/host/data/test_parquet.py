from __future__ import annotations

import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmtk.data.readers import parquet
from mmtk.data.readers.parquet import ParquetReader
from mmtk.errors import DataError, SampleError

from .samples import picture


def write(path: Path, rows: list[dict[str, Any]], group: int = 3, **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group, **options)
    return path


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"image": picture(seed=n), "caption": f"text {n}", "image_id": n, "extra": "x"}
        for n in range(start, start + count)
    ]


def test_bytes_structs_and_paths(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(picture(seed=5))
    write(tmp_path / "a.parquet", rows(2))
    write(
        tmp_path / "b.parquet",
        [
            {"image": {"bytes": picture(seed=8), "path": "image.png"}, "caption": ["x", "y"]},
            {"image": {"bytes": None, "path": "p.png"}, "caption": ["z"]},
            {"image": {"bytes": picture(seed=8), "path": "image.png"}, "caption": None},
        ],
    )
    write(tmp_path / "c.parquet", [{"image": "p.png", "caption": "path"}])
    reader = ParquetReader(tmp_path)
    found = [reader[index] for index in (0, 1, 2, 3, 5)]
    assert [one.key for one in found] == ["a-0", "a-1", "b-0", "b-1", "c-0"]
    assert [one.image for one in found] == [picture(seed=n) for n in (0, 1, 8, 5, 5)]
    assert [one.texts for one in found] == [("text 0",), ("text 1",), ("x", "y"), ("z",), ("path",)]
    assert [found[0].image_id, found[3].image_id, found[4].image_id] == ["0", "p.png", "p.png"]
    assert len(found[2].image_id) == 32
    with pytest.raises(SampleError, match="no text: nothing in 'caption'") as caught:
        reader[4]
    assert (caught.value.key, caught.value.location) == ("b-2", str(tmp_path / "b.parquet"))


def test_the_same_bytes_are_the_same_picture(tmp_path: Path) -> None:
    same = [{"image": picture(seed=n % 2), "caption": "x"} for n in range(4)]
    reader = ParquetReader(write(tmp_path / "a.parquet", same))
    ids = [reader[n].image_id for n in range(4)]
    assert ids[0] == ids[2] != ids[1] == ids[3]


def test_patterns_and_columns(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"a-{number}.parquet", [{"jpg": picture(), "en": "one", "de": "eins"}])
    reader = ParquetReader(tmp_path / "a-{0..1}.parquet", image="jpg", text=["en", "de"], source="web")
    assert [(reader[n].key, reader[n].texts, reader[n].source) for n in range(2)] == [
        ("a-0-0", ("one", "eins"), "web"),
        ("a-1-0", ("one", "eins"), "web"),
    ]
    with pytest.raises(DataError, match=r"no column 'image', 'caption'; there are: jpg, en, de"):
        ParquetReader(tmp_path)
    with pytest.raises(DataError, match="no such image folder"):
        ParquetReader(tmp_path, images=tmp_path / "gone")


def test_few_groups_are_read_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ParquetReader(write(tmp_path / "a.parquet", rows(12)), cached_groups=2)
    read = []
    inner = parquet._read_group
    monkeypatch.setattr(
        parquet, "_read_group", lambda table, group: (read.append(group), inner(table, group))[1]
    )
    for index in (0, 1, 2, 3, 0, 6, 3, 0):
        assert reader[index].texts == (f"text {index}",)
    assert read == [0, 1, 2, 1, 0]


def test_every_row_once_in_any_order_from_threads(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows(20))
    write(tmp_path / "b.parquet", rows(20, 20), group=7)
    reader = pickle.loads(pickle.dumps(ParquetReader([tmp_path / "a.parquet", tmp_path / "b.parquet"])))
    order = list(range(40))
    random.Random(1).shuffle(order)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(reader.__getitem__, order))
    assert [one.texts for one in found] == [(f"text {n}",) for n in order]
    assert len({one.key for one in found}) == 40
    assert threading.active_count() < 50


def test_a_file_that_is_none_is_quarantined(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows(2))
    (tmp_path / "b.parquet").write_bytes(b"<html>")
    (tmp_path / "c.parquet").touch()
    reader = ParquetReader(tmp_path)
    assert len(reader) == 2
    assert [(one.key, one.reason.partition(":")[0]) for one in reader.quarantined] == [
        ("b.parquet", "damaged file"),
        ("c.parquet", "damaged file"),
    ]


def test_damaged_pages_cost_their_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", rows(6), write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    data[data.index(picture(seed=1)) + 20] ^= 0xFF
    path.write_bytes(bytes(data))
    reader = ParquetReader(path)
    reasons = []
    for index in range(3):
        with pytest.raises(SampleError) as caught:
            reader[index]
        reasons.append(caught.value.reason)
    assert all(reason.startswith("damaged file: ") for reason in reasons)
    assert reader[4].texts == ("text 4",)


def test_a_group_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_GROUP", 100)
    reader = ParquetReader(write(tmp_path / "a.parquet", rows(2)))
    with pytest.raises(SampleError, match="too large a row group"):
        reader[0]
