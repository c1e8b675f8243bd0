from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmtk.data.tables import read_columns
from mmtk.errors import DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"], "c": [None, 0.5]}), path)
    return path


def test_the_columns_that_were_asked_for(path: Path) -> None:
    assert read_columns(path, ["c", "a"]).to_pydict() == {"c": [None, 0.5], "a": [1, 2]}


def test_missing_columns_are_named(path: Path) -> None:
    with pytest.raises(DataError, match=r"some\.parquet has no column d, e$"):
        read_columns(path, ["e", "a", "d"])


@pytest.mark.parametrize("data", [b"", b"hello", b"PAR1" * 4])
def test_other_files_are_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^[^\n]*some\.parquet can't be read as a Parquet file: [^\n]+$"):
        read_columns(path, ["a"])


def test_damage_anywhere_is_a_data_error(path: Path) -> None:
    whole = path.read_bytes()
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError):
            read_columns(path, ["a", "b", "c"])
        path.write_bytes(whole[:cut] + bytes(min(30, len(whole) - cut)) + whole[cut + 30 :])
        with contextlib.suppress(DataError):  # some damage goes unnoticed: this file has no checksums
            read_columns(path, ["a", "b", "c"])


def test_a_folder_and_no_file_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="can't be read as a Parquet file"):
            read_columns(path, ["a"])
