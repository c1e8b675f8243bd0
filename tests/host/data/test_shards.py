from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.data.shards import ShardWriter, image_extension
from mmtk.errors import DataError

from .samples import picture, sample


@pytest.mark.parametrize(
    ("format", "extension"),
    [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tif")],
)
def test_extension_comes_from_the_bytes(format: str, extension: str) -> None:
    assert image_extension(picture(format=format)) == extension


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(DataError, match="not an image"):
        image_extension(b"<html>404</html>")


def test_round_trip_through_the_reader(tmp_path: Path) -> None:
    samples = [sample(n, texts=("eins", "zwei ü"), image=picture(seed=n, format="WEBP")) for n in range(7)]
    with ShardWriter(tmp_path / "out", "web", samples_per_shard=3) as writer:
        for each in samples:
            writer.write(each)
    assert [path.name for path in writer.shards] == ["web-000000.tar", "web-000001.tar", "web-000002.tar"]
    assert sorted(tmp_path.joinpath("out").iterdir()) == writer.shards
    assert writer.samples == 7
    reader = WebDatasetReader(tmp_path / "out")
    read = [reader[index] for index in range(len(reader))]
    assert [(s.key, s.image, s.texts, s.image_id, s.source) for s in read] == [
        (s.key, s.image, s.texts, s.image_id, s.source) for s in samples
    ]
    assert reader.quarantined == []


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    digests = []
    for folder in ("a", "b"):
        with ShardWriter(tmp_path / folder, "x") as writer:
            for number in range(3):
                writer.write(sample(number))
        digests.append(hashlib.sha256(writer.shards[0].read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    with tarfile.open(tmp_path / "a" / "x-000000.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_an_error_discards_the_unfinished_shard_and_keeps_whole_ones(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "x", samples_per_shard=2)

    def interrupted() -> None:
        with writer:
            for number in range(3):
                writer.write(sample(number))
            assert (tmp_path / ".x-000001.tar.partial").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["x-000000.tar"]


def test_a_repeated_run_leaves_no_shards_of_the_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "x-000005.tar").write_bytes(b"old")
    (tmp_path / ".x-000006.tar.partial").write_bytes(b"old")
    (tmp_path / "x-notes.tar").write_bytes(b"not ours")
    (tmp_path / "xx-000000.tar").write_bytes(b"not ours")
    with ShardWriter(tmp_path, "x") as writer:
        writer.write(sample(0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x-000000.tar", "x-notes.tar", "xx-000000.tar"]


def test_no_samples_give_no_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "out", "x") as writer:
        pass
    assert writer.shards == []
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("key", ["", "a.b", "a/", "../a", "/a", "a//b", "a/b.c"])
def test_keys_that_would_not_read_back_are_refused(tmp_path: Path, key: str) -> None:
    with ShardWriter(tmp_path, "x") as writer, pytest.raises(DataError, match="can't be a key"):
        writer.write(sample(0, key=key))


def test_a_refused_sample_leaves_the_shard_usable(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "x") as writer:
        writer.write(sample(0))
        with pytest.raises(DataError, match="two samples with the key 'key0000'"):
            writer.write(sample(0))
        with pytest.raises(DataError, match="not an image"):
            writer.write(sample(1, image=b"nothing"))
        writer.write(sample(1))
    assert len(WebDatasetReader(tmp_path)) == 2


def test_long_and_foreign_keys_and_line_breaks_in_texts(tmp_path: Path) -> None:
    key = "ordner/" + "ä" * 120
    with ShardWriter(tmp_path, "x") as writer:
        writer.write(sample(0, key=key, texts=("one\nline\r\n here", "second")))
    reader = WebDatasetReader(tmp_path)
    assert reader[0].key == key
    assert reader[0].texts == ("one line here", "second")


@pytest.mark.parametrize(("prefix", "size"), [("a/b", 1), ("", 1), (".x", 1), ("a*", 1), ("a", 0)])
def test_bad_arguments(tmp_path: Path, prefix: str, size: int) -> None:
    with pytest.raises(DataError):
        ShardWriter(tmp_path, prefix, size)
