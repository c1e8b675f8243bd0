from __future__ import annotations

import os
import random
import stat
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmtk.data.readers import index_files
from mmtk.data.readers.addresses import INDEX_SUFFIX
from mmtk.data.readers.index_files import index_places, shard_index
from mmtk.data.readers.shard_stream import iterate_shard
from mmtk.data.readers.tar_index import ShardIndex
from mmtk.data.readers.webdataset import WebDatasetReader, read_parts
from mmtk.data.shards import ShardWriter
from mmtk.errors import DataError, SampleError
from mmtk.types import Quarantined, RawSample

from .samples import pair, picture, sample, write_tar

MEMBERS = [*pair("a"), *pair("bad", None), *pair("b", b"zwei", picture(seed=2)), *pair("a")]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr("sys.platform", "linux")
    return folder


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return settled(
        write_tar(tmp_path / "set" / "s.tar", MEMBERS) if (tmp_path / "set").mkdir() is None else tmp_path
    )


def settled(path: Path) -> Path:
    """Make a file a minute old: what was written a moment ago is not remembered."""
    old = time.time() - 60
    os.utime(path, (old, old))
    return path


def beside(shard: Path) -> Path:
    return shard.with_name(shard.name + INDEX_SUFFIX)


def forbid_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardIndex, "scan", classmethod(lambda *_: pytest.fail("the headers were read")))


def content(reader: WebDatasetReader) -> list[tuple[str, bytes, tuple[str, ...]]]:
    return [(one.key, one.image, one.texts) for one in (reader[index] for index in range(len(reader)))]


def test_the_second_opening_reads_the_index_alone(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = WebDatasetReader(shard)
    assert beside(shard).is_file()
    forbid_scans(monkeypatch)
    second = WebDatasetReader(shard)
    assert content(second) == content(first)
    assert second.quarantined == first.quarantined
    assert [entry.key for entry in first.quarantined] == ["bad", "a"]


def test_a_shard_written_a_moment_ago_is_not_remembered(shard: Path) -> None:
    os.utime(shard)
    WebDatasetReader(shard)
    assert not beside(shard).exists()


def test_a_changed_shard_is_read_anew(shard: Path) -> None:
    WebDatasetReader(shard)
    before = beside(shard).read_bytes()
    write_tar(shard, pair("new"))
    os.utime(shard, (1, 1))
    assert [key for key, *_ in content(WebDatasetReader(shard))] == ["new"]
    assert beside(shard).read_bytes() != before


def test_a_damaged_index_is_written_anew(shard: Path) -> None:
    wanted = content(WebDatasetReader(shard))
    whole = beside(shard).read_bytes()
    draws = random.Random(0)
    for attempt in range(150):
        damaged = bytearray(whole)
        for _ in range(1 + attempt % 3):
            damaged[draws.randrange(len(damaged))] ^= 1 << draws.randrange(8)
        if attempt % 4 == 0:
            del damaged[draws.randrange(len(damaged)) :]
        beside(shard).write_bytes(bytes(damaged))
        assert content(WebDatasetReader(shard)) == wanted
        assert beside(shard).read_bytes() == whole


def test_an_index_that_leads_out_of_the_shard_is_not_trusted(shard: Path) -> None:
    index = shard_index(str(shard))
    state = index_files.local_state(shard)
    for parts, ends in (
        (index.parts + np.uint32(4000), index.key_ends),
        (index.parts, index.key_ends[::-1].copy()),
        (index.parts, index.key_ends + np.uint32(7)),
    ):
        crafted = ShardIndex(parts, ends, index.key_hashes, index.keys)
        assert ShardIndex.from_bytes(crafted.to_bytes(state), state) is None
    assert ShardIndex.from_bytes(index.to_bytes(state), state) is not None
    assert ShardIndex.from_bytes(index.to_bytes(state), {**state, "mtime_ns": 1}) is None


def test_an_index_folder_of_ones_own(shard: Path, tmp_path: Path) -> None:
    other = settled(write_tar(tmp_path / "s.tar", pair("other")))
    reader = WebDatasetReader([shard, other], index=tmp_path / "indexes")
    assert len(list((tmp_path / "indexes").iterdir())) == 2
    assert not beside(shard).exists()
    assert content(WebDatasetReader([shard, other], index=tmp_path / "indexes")) == content(reader)


def test_a_folder_that_takes_no_files_sends_the_index_to_the_cache(
    shard: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def refusing(path: Path, data: bytes) -> int:
        if path.parent == shard.parent:
            raise PermissionError(13, "Permission denied")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refusing)
    WebDatasetReader(shard)
    assert [path.name for path in shard.parent.iterdir()] == ["s.tar"]
    assert len(list((cache / "mmtk" / "indexes").iterdir())) == 1
    forbid_scans(monkeypatch)
    assert len(WebDatasetReader(shard)) == 2


def test_a_failed_write_leaves_nothing(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", failing)
    assert len(WebDatasetReader(shard)) == 2
    assert [path.name for path in shard.parent.iterdir()] == ["s.tar"]


def test_others_may_read_an_index(shard: Path) -> None:
    WebDatasetReader(shard)
    assert stat.S_IMODE(beside(shard).stat().st_mode) == stat.S_IMODE(shard.stat().st_mode)


def test_the_writer_takes_its_indexes_away(tmp_path: Path) -> None:
    for _ in range(2):
        with ShardWriter(tmp_path, "x") as writer:
            writer.write(sample(0))
        assert [path.name for path in tmp_path.iterdir()] == ["x-000000.tar"]
        WebDatasetReader(settled(writer.shards[0]))
        assert beside(writer.shards[0]).exists()


@pytest.fixture
def remote() -> Iterator[str]:
    fs = fsspec.filesystem("memory")
    yield "memory://indexed"
    fs.rm("/indexed", recursive=True)


def put(address: str, path: Path) -> None:
    fsspec.filesystem("memory").pipe(address.removeprefix("memory:/"), path.read_bytes())


def test_remote_shards_are_read_by_ranges(
    shard: Path, remote: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(f"{remote}/s.tar", shard)
    first = WebDatasetReader(remote)
    assert content(first) == content(WebDatasetReader(shard))
    assert [entry.reason for entry in first.quarantined] == [
        "no text: the sample has neither a txt nor a json",
        "duplicate key: it is in s.tar before",
    ]
    assert len(list((cache / "mmtk" / "indexes").iterdir())) == 1
    fs = fsspec.filesystem("memory")
    monkeypatch.setattr(type(fs), "open", lambda *_a, **_k: pytest.fail("the shard was opened"))
    ranges = []

    def cat_file(_fs: object, path: str, start: int, end: int) -> bytes:
        ranges.append((start, end))
        return fs.store[path].getvalue()[start:end]

    monkeypatch.setattr(type(fs), "cat_file", cat_file)
    assert content(WebDatasetReader(f"{remote}/s.tar")) == content(WebDatasetReader(shard))
    assert len(ranges) == 2


def test_a_changed_remote_shard_is_read_anew(shard: Path, remote: str) -> None:
    put(f"{remote}/s.tar", shard)
    WebDatasetReader(remote)
    write_tar(shard, pair("new"))
    time.sleep(0.01)
    put(f"{remote}/s.tar", shard)
    assert [key for key, *_ in content(WebDatasetReader(remote))] == ["new"]


def test_a_remote_shard_that_is_gone(shard: Path, remote: str) -> None:
    put(f"{remote}/s.tar", shard)
    reader = WebDatasetReader(f"{remote}/s.tar")
    fsspec.filesystem("memory").rm("/indexed/s.tar")
    with pytest.raises(SampleError, match="unreadable shard"):
        reader[0]
    put(f"{remote}/t.tar", shard)
    with pytest.raises(DataError, match=r"can't read memory://indexed/s\.tar"):
        WebDatasetReader(f"{remote}/s.tar")


def test_parts_that_lie_apart_are_read_apart(tmp_path: Path) -> None:
    members = [("k.png", picture()), ("k.seg.npy", bytes(1 << 17)), ("k.txt", b"x"), ("k.json", b"{}")]
    shard = write_tar(tmp_path / "s.tar", members)
    spans = shard_index(str(shard)).spans(0)
    assert read_parts(str(shard), spans) == [picture(), b"x", b"{}"]


def test_an_index_is_compact(tmp_path: Path) -> None:
    members = [member for number in range(500) for member in pair(f"{number:09d}", b"x", b"y")]
    shard = settled(write_tar(tmp_path / "s.tar", members))
    WebDatasetReader(shard)
    assert beside(shard).stat().st_size < 500 * 50


def test_places(tmp_path: Path, cache: Path) -> None:
    own, fallback = index_places(str(tmp_path / "s.tar"), None)
    assert own == tmp_path / "s.tar.mmtk-index"
    assert fallback.parent == cache / "mmtk" / "indexes"
    (only,) = index_places("s3://bucket/s.tar", tmp_path)
    assert only.parent == tmp_path
    assert next(index_places("s3://other/s.tar", tmp_path)) != only


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(6)),
    cut=st.none() | st.integers(0, 12_000),
    flips=st.lists(st.tuples(st.integers(0, 12_000), st.integers(1, 255)), max_size=3),
)
def test_the_reader_and_the_stream_agree_on_every_shard(
    tmp_path: Path, order: list[int], cut: int | None, flips: list[tuple[int, int]]
) -> None:
    """Every sample comes once or is accounted for, and both say the same of it."""
    members = [member for number in order for member in pair(f"k{number % 5}", b"text %d" % number)]
    data = bytearray(write_tar(tmp_path / "s.tar", members).read_bytes()[:cut])
    for place, change in flips:
        if place < len(data):
            data[place] ^= change
    (tmp_path / "s.tar").write_bytes(bytes(data))
    streamed = list(iterate_shard(str(tmp_path / "s.tar")))
    reader = WebDatasetReader(tmp_path / "s.tar")
    refused = Counter(reader.quarantined)
    used = {}
    for index in order * (1 + len(reader) // 6):
        if index < len(reader):
            try:
                used[index] = reader[index]
            except SampleError as error:
                refused[Quarantined(error.key, error.reason, error.location)] = 1
    assert [used[index] for index in sorted(used)] == [one for one in streamed if isinstance(one, RawSample)]
    assert refused == Counter(one for one in streamed if isinstance(one, Quarantined))
    if cut is None and not flips:
        assert len(used) + len(reader.quarantined) == 6
