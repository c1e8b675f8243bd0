from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmtk.data.readers.hf_dataset import HfDatasetReader
from mmtk.errors import DataError, SampleError

from .samples import picture

datasets = pytest.importorskip("datasets")


def save(folder: Path, captions: list[object] | None = None) -> Path:
    names = captions or ["one", "two"]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    if isinstance(names[0], list):
        features["caption"] = datasets.Sequence(datasets.Value("string"))
    rows = {
        "image": [{"bytes": picture(seed=n), "path": None} for n in range(len(names))],
        "caption": names,
    }
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(folder))
    return folder


def test_pictures_come_as_they_were_stored(tmp_path: Path) -> None:
    reader = HfDatasetReader(save(tmp_path / "set", [["one", "uno"], ["two"]]), source="web")
    assert len(reader) == 2
    first, second = reader[0], reader[1]
    assert (first.image, first.texts, first.source) == (picture(seed=0), ("one", "uno"), "web")
    assert (first.key, second.key) == ("set-0", "set-1")
    assert first.image_id != second.image_id
    assert first.location == str(tmp_path / "set")


def test_a_split_of_several(tmp_path: Path) -> None:
    parts = {name: datasets.load_from_disk(str(save(tmp_path / name))) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "both"))
    reader = HfDatasetReader(tmp_path / "both", split="test")
    assert (reader[1].key, reader[1].texts) == ("test-1", ("two",))
    with pytest.raises(DataError, match="a split must be chosen; there are: train, test"):
        HfDatasetReader(tmp_path / "both")
    with pytest.raises(DataError, match="no split 'val'; there are: train, test"):
        HfDatasetReader(tmp_path / "both", split="val")
    with pytest.raises(DataError, match="has no splits"):
        HfDatasetReader(tmp_path / "train", split="train")


def test_paths_and_missing_parts(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    table = {"image": ["a.png", None, "/etc/hostname"], "caption": ["x", "y", "z"]}
    datasets.Dataset.from_dict(table).save_to_disk(str(tmp_path / "set"))
    reader = HfDatasetReader(tmp_path / "set", images=tmp_path)
    assert (reader[0].image, reader[0].image_id) == (picture(), "a.png")
    with pytest.raises(SampleError, match="no image: nothing in 'image'"):
        reader[1]
    with pytest.raises(SampleError, match="lies outside of the folder"):
        reader[2]


def test_what_is_no_saved_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="as a saved dataset"):
        HfDatasetReader(tmp_path)
    with pytest.raises(DataError, match="no column 'text'; there are: image, caption"):
        HfDatasetReader(save(tmp_path / "set"), text="text")


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'mmtk\[hf\]'"):
        HfDatasetReader(tmp_path)
