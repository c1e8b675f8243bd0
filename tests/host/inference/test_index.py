from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmtk.errors import DataError
from mmtk.inference import indexing
from mmtk.inference.index_files import read_index
from mmtk.inference.results import Indexed
from tests.host.inference.small_model import pictures, small_model
from tests.small_learner import picture


def test_an_index_holds_the_pictures_features_and_what_it_was_made_with(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 5, broken=(2,))
    model = small_model(tmp_path / "model")
    seen: list[str] = []
    done = model.index([*paths, paths[0]], tmp_path / "index", lambda one: seen.append(one.name))
    assert (done.new, done.unchanged, done.gone) == (4, 0, 0)
    assert [(one.name, one.features) for one in done.failed] == [(paths[2], None)]
    assert seen == paths
    index = read_index(tmp_path / "index")
    good = [path for path in paths if path != paths[2]]
    assert [one.path for one in index.pictures] == good
    assert np.allclose(index.rows, model.embed_images(good).numpy())
    assert index.rows.dtype == np.float32
    assert isinstance(index.rows, np.memmap)
    assert index.about.model == str(tmp_path / "model")
    assert index.about.image_size == 8


def test_only_new_and_changed_pictures_are_read_again(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 6)
    model = small_model(tmp_path / "model")
    model.index(paths[:5], tmp_path / "index")
    Path(paths[1]).write_bytes(picture(99))
    os.utime(paths[1], ns=(0, 0))
    seen: list[str] = []
    wanted = [paths[5], *paths[:4]]
    done = model.index(wanted, tmp_path / "index", lambda one: seen.append(one.name))
    assert done == Indexed(new=2, unchanged=3, gone=2)
    assert seen == [paths[5], paths[1]]
    index = read_index(tmp_path / "index")
    assert [one.path for one in index.pictures] == wanted
    assert np.allclose(index.rows, model.embed_images(wanted).numpy())


@pytest.mark.parametrize("change", ["model", "size"])
def test_another_model_makes_it_anew(tmp_path: Path, change: str) -> None:
    paths = pictures(tmp_path / "photos", 3)
    small_model(tmp_path / "model").index(paths, tmp_path / "index")
    if change == "model":
        (tmp_path / "model" / "learner.json").write_text("{ }")
    other = small_model(tmp_path / "model", image_size=16 if change == "size" else 8)
    assert other.index(paths, tmp_path / "index").new == 3


def test_an_interrupted_index_keeps_what_was_done(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 6)
    model = small_model(tmp_path / "model", batch_size=2)
    left = 3

    def interrupt(_one: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.index(paths, tmp_path / "index", interrupt)
    assert [one.path for one in read_index(tmp_path / "index").pictures] == paths[:3]
    assert model.index(paths, tmp_path / "index") == Indexed(new=3, unchanged=3, gone=0)


def test_what_is_done_is_saved_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "SECONDS_BETWEEN_SAVES", 0.0)
    paths = pictures(tmp_path / "photos", 3)
    held: list[int] = []

    def look(_one: Any) -> None:
        held.append(len(read_index(tmp_path / "index").pictures) if (tmp_path / "index").exists() else 0)

    small_model(tmp_path / "model").index(paths, tmp_path / "index", look)
    assert held == [0, 1, 2]


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 2)
    model = small_model(tmp_path / "model")
    with pytest.raises(DataError, match=r"holds '00\.png', which is no part of an index"):
        model.index(paths, tmp_path / "photos")
    with pytest.raises(DataError, match="a file; an index is a folder"):
        model.index(paths, paths[0])
    assert [path.name for path in sorted((tmp_path / "photos").iterdir())] == ["00.png", "01.png"]


def test_an_index_of_nothing_can_be_read(tmp_path: Path) -> None:
    (path,) = pictures(tmp_path / "photos", 1, broken=(0,))
    assert len(small_model(tmp_path / "model").index([path], tmp_path / "index").failed) == 1
    assert len(read_index(tmp_path / "index").pictures) == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.json", "{"),
        ("index.json", '{"format": 9, "model": "", "fingerprint": "", "image_size": 8}'),
        ("index.json", '{"format": 1, "other": 1}'),
        ("index.json", "[]"),
        ("images.jsonl", ""),
        ("images.jsonl", "1\n2\n"),
        ("embeddings.npy", "rows"),
    ],
)
def test_a_damaged_index_is_said_to_be_one(tmp_path: Path, name: str, content: str) -> None:
    small_model(tmp_path / "model").index(pictures(tmp_path / "photos", 2), tmp_path / "index")
    (tmp_path / "index" / name).write_text(content)
    with pytest.raises(DataError, match=r"index: a damaged index.*make it again"):
        read_index(tmp_path / "index")


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no index, index\.json is missing; 'mmtk index' makes one"):
        read_index(tmp_path)
