from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmtk_capfilt.output import shard_key, shard_path, unwritable, write_shard
from mmtk_capfilt.part_pass import copies
from PIL import Image

from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.data.shards import check_sample
from mmtk.types import RawSample
from tests.small_learner import picture, sample

SAMPLES = [sample(n, f"a text, {n}", key=f"k{n}-web", image_id=f"k{n}") for n in range(3)]


def test_a_webdataset_shard_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = shard_path(tmp_path / "dataset", "round_2", 7, "webdataset")
    assert path.name == "round_2-000007.tar"
    assert write_shard(path, iter(SAMPLES), "webdataset") == 3
    reader = WebDatasetReader(path)
    found = [reader[index] for index in range(len(reader))]
    assert [(one.key, one.image, one.texts, one.image_id, one.source) for one in found] == [
        (one.key, one.image, one.texts, one.image_id, one.source) for one in SAMPLES
    ]
    with tarfile.open(path) as tar:
        assert tar.getnames()[:3] == ["k0-web.png", "k0-web.txt", "k0-web.json"]


def test_hugging_face_opens_parquet_shards_with_pictures_and_texts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for number, some in enumerate((SAMPLES[:2], SAMPLES[2:])):
        write_shard(shard_path(tmp_path / "dataset", "round_2", number, "parquet"), some, "parquet")
    opened = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "dataset" / "round_2-*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert opened.features["image"] == datasets.Image()
    assert opened["text"][:] == [one.texts[0] for one in SAMPLES]
    assert opened["key"][:] == [one.key for one in SAMPLES]
    assert set(opened.column_names) == {"key", "image", "text", "image_id", "source"}
    for row, one in zip(opened, SAMPLES, strict=True):
        assert row["image"].convert("RGB").tobytes() == Image.open(io.BytesIO(one.image)).tobytes()


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_same_samples_give_the_same_bytes_and_none_no_file(tmp_path: Path, form: str) -> None:
    paths = [tmp_path / name / "shard" for name in ("a", "b")]
    for path in paths:
        write_shard(path, SAMPLES, form)  # type: ignore[arg-type]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert write_shard(paths[0], [], form) == 0  # type: ignore[arg-type]
    assert list(paths[0].parent.iterdir()) == []


def test_a_shard_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> object:
        yield SAMPLES[0]
        yield SAMPLES[0]

    with pytest.raises(Exception, match="two samples with the key 'k0-web'"):
        write_shard(tmp_path / "a.tar", broken(), "webdataset")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["000017", "a/b", "käse 7", "a-b_c+d", "..a/b"[2:]])
def test_a_key_that_can_name_a_file_stays(key: str) -> None:
    assert shard_key(key) == key


@pytest.mark.parametrize(
    "key",
    ["", ".", "..", "../a", "a/../b", "/etc/passwd", "a.b", "a//b", "a/", "a\\b", "a\nb", "\x1b[2J", "\x00"],
)
def test_a_key_that_can_not_is_replaced(key: str) -> None:
    replaced = shard_key(key)
    assert replaced != key
    check_sample(RawSample(f"{replaced}-web", picture(0), ("a",), ""), ())
    assert not set(replaced) & set("./\\\x00\n\x1b")


@given(st.lists(st.text(max_size=80), unique=True, max_size=8))
def test_keys_that_differ_stay_apart(keys: list[str]) -> None:
    replaced = [shard_key(key) for key in keys]
    assert len(set(replaced)) == len(keys)
    for key in replaced:
        assert not key.startswith("/")
        assert not any(part in ("", ".", "..") for part in key.split("/"))


def test_what_is_no_picture_can_not_be_written() -> None:
    assert unwritable(SAMPLES[0]) == ""
    assert "not an image file" in unwritable(RawSample("k", b"nothing", ("a",), ""))


@pytest.mark.parametrize(("weight", "count"), [(0, 0), (1, 1), (3, 3), (0.0, 0), (2.0, 2)])
def test_a_whole_weight_is_a_number_of_copies(weight: float, count: int) -> None:
    keys = [one.key for one in copies(SAMPLES[0], weight)]
    assert keys == ["k0-web", "k0-web-copy2", "k0-web-copy3"][:count]


def test_a_fraction_takes_its_share_and_the_same_ones_each_time() -> None:
    some = [sample(0, key=f"k{number}") for number in range(1000)]
    taken = [one.key for each in some for one in copies(each, 0.25)]
    assert 200 < len(taken) < 300
    assert taken == [one.key for each in some for one in copies(each, 0.25)]
    more = {one.key for each in some for one in copies(each, 0.5)}
    assert set(taken) < more
    assert sum(len(list(copies(each, 1.25))) for each in some) == 1000 + len(taken)
