from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from mmtk.data.images.decode import decode_image
from mmtk.data.images.transforms import BlipTest
from mmtk.inference.pictures import find_pictures, read_pictures
from tests.small_learner import picture


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files by names alone, in a folder that is the current one."""
    for name in ("b.JPG", "a.png", "notes.txt", "deep/er/c.webp", "deep/d.gif", "x[1].png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "odd.data").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["photos/a.png", "odd.data"], ["photos/a.png", "odd.data"]),
        (["odd.data", "odd.data"], ["odd.data", "odd.data"]),
        (
            ["photos"],
            ["photos/a.png", "photos/b.JPG", "photos/deep/d.gif", "photos/deep/er/c.webp", "photos/x[1].png"],
        ),
        (["photos/*"], ["photos/a.png", "photos/b.JPG", "photos/x[1].png"]),
        (["photos/deep/**"], ["photos/deep/d.gif", "photos/deep/er/c.webp"]),
        (["photos/**/*.gif", "photos/a.png"], ["photos/deep/d.gif", "photos/a.png"]),
        (["photos/x[1].png"], ["photos/x[1].png"]),
        (["photos/*.bmp", "gone.png"], ["photos/*.bmp", "gone.png"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_names_folders_and_patterns(names: list[str], found: list[str]) -> None:
    assert find_pictures(names) == found


@pytest.mark.usefixtures("folder")
def test_a_dash_stands_for_the_lines_of_the_input() -> None:
    lines = ["odd.data", "", "photos/deep", "gone.png"]
    assert find_pictures(["photos/a.png", "-"], lines) == [
        "photos/a.png", "odd.data", "photos/deep/d.gif", "photos/deep/er/c.webp", "gone.png"
    ]  # fmt: skip


def test_pictures_are_read_in_order_and_errors_stand_in_their_places(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(picture(number, (5 + number, 9)))
    paths[3].write_bytes(b"no picture")
    paths[5].unlink()
    paths[6].unlink()
    paths[6].mkdir()
    paths[8].unlink()
    paths[8].mkdir()
    (paths[8] / "inner.png").write_bytes(picture(8))
    paths[7].unlink()
    os.mkfifo(paths[7])
    transform = BlipTest(4)
    read = list(read_pictures(map(str, paths), transform))
    assert [one.path for one in read] == [str(path) for path in paths]
    errors = {int(Path(one.path).stem): one.error for one in read if one.error}
    assert errors.keys() == {3, 5, 6, 7, 8}
    assert errors[3].startswith("unreadable image")
    assert errors[5] == "no such file"
    assert errors[6].startswith("no pictures in this folder")
    assert errors[7] == "no regular file"
    assert errors[8] == "a folder; name one picture in it"
    expected = transform(decode_image(picture(9, (14, 9))), torch.Generator())
    assert torch.equal(read[9].pixels, expected)  # type: ignore[arg-type]


def test_small_and_long_pictures_are_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    path.write_bytes(picture(0, (400, 1)))
    (read,) = read_pictures([str(path)], BlipTest(4))
    assert read.error == ""


def test_a_pattern_that_matches_nothing_says_so() -> None:
    (read,) = read_pictures(["nowhere/*.png"], BlipTest(4))
    assert read.error == "no such file, and nothing matches"
