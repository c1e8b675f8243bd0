from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from mmtk.data.readers.addresses import expand_braces, find_shards, is_remote, local_path
from mmtk.errors import DataError
from mmtk.printable import printable


@pytest.fixture
def store() -> Iterator[None]:
    """Three shards of a store in memory, with the tables that img2dataset puts beside them."""
    fs = fsspec.filesystem("memory")
    for number in range(3):
        for name in (".tar", ".parquet", "_stats.json"):
            fs.pipe(f"/set/0000{number}{name}", b"x")
    yield
    fs.rm("/set", recursive=True)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "address", ["memory://set", "memory://set/", "memory://set/*.tar", "memory://set/0000{0..2}.tar"]
)
def test_remote_folders_patterns_and_braces(address: str) -> None:
    assert find_shards([address]) == [f"memory://set/0000{number}.tar" for number in range(3)]


@pytest.mark.usefixtures("store")
def test_what_lies_beside_shards_is_no_shard(tmp_path: Path) -> None:
    assert len(find_shards(["memory://set/0000*"])) == 3
    for name in ("a.tar", "a.parquet", "a_stats.json", "a.tar.mmtk-index"):
        (tmp_path / name).touch()
    assert find_shards([tmp_path / "a*"]) == find_shards([tmp_path]) == [str(tmp_path / "a.tar")]


@pytest.mark.usefixtures("store")
def test_remote_addresses_that_name_nothing() -> None:
    with pytest.raises(DataError, match=r"nothing lies at memory://set/b\*\.tar"):
        find_shards(["memory://set/b*.tar"])
    with pytest.raises(DataError, match="can't read nosuch://x: Protocol not known: nosuch"):
        find_shards(["nosuch://x"])


def test_a_named_remote_shard_is_taken_at_its_word() -> None:
    assert find_shards(["memory://no/x-{1..2}.tar"]) == ["memory://no/x-1.tar", "memory://no/x-2.tar"]


def test_file_addresses_are_paths(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    assert find_shards([f"file://{tmp_path}/a.tar"]) == [str(tmp_path / "a.tar")]
    assert not is_remote(f"file://{tmp_path}")
    assert local_path(f"file://{tmp_path}") == tmp_path


@pytest.mark.parametrize("pattern", ["{0..99999999999}", "{0..9999}{0..9999}"])
def test_braces_without_end_are_refused(pattern: str) -> None:
    with pytest.raises(DataError, match="more than 10,000,000 names"):
        expand_braces(pattern)


def test_printable_names() -> None:
    assert printable("ä 👨‍👩‍👧 ok") == "ä 👨‍👩‍👧 ok"
    assert printable("\x1b[31m\r\n\x85\u2028\u202e\ud800") == r"\x1b[31m\r\n\x85\u2028\u202e\ud800"
