"""An index of pictures on disk: a folder of three files.

``index.json`` says what it was made with, ``images.jsonl`` which pictures it holds, a line each, and
``embeddings.npy`` their features, a row each, which a search maps into memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmtk.engine.folders import whole_folder
from mmtk.errors import DataError

ABOUT, PICTURES, ROWS = "index.json", "images.jsonl", "embeddings.npy"
_FORMAT = 1


@dataclass(frozen=True)
class About:
    """What an index was made with.

    Attributes:
        model: the checkpoint's absolute path.
        fingerprint: of the checkpoint, as ``fingerprint_of`` gives it.
        image_size: edge of the pictures in pixels, as the model saw them.
    """

    model: str
    fingerprint: str
    image_size: int


@dataclass(frozen=True)
class IndexedPicture:
    """A picture in an index, by what tells whether its file is still the same.

    Attributes:
        path: absolute.
        size: in bytes.
        mtime_ns: time of modification in nanoseconds.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Index:
    """An index.

    Attributes:
        folder: where it lies.
        about: what it was made with.
        pictures: ``N`` of them.
        rows: their features, ``(N, E)`` float32 of unit norm.
    """

    folder: Path
    about: About
    pictures: Sequence[IndexedPicture]
    rows: np.ndarray


def holds_index(folder: Path) -> bool:
    """Whether there is an index in ``folder``, whole or damaged."""
    return (folder / ABOUT).is_file()


def read_index(folder: Path) -> Index:
    """Open an index; its rows stay on the disk until they are read.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if not holds_index(folder):
        raise DataError(f"{folder}: no index, {ABOUT} is missing; 'mmtk index' makes one")
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        version = about.pop("format")
        lines = (folder / PICTURES).read_text("utf-8").splitlines()
        index = Index(
            folder,
            About(**about),
            [IndexedPicture(**json.loads(line)) for line in lines],
            np.load(folder / ROWS, mmap_mode="r"),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{folder}: a damaged index ({error}); remove it and make it again") from error
    if version != _FORMAT or index.rows.ndim != 2 or len(index.rows) != len(index.pictures):
        raise DataError(f"{folder}: a damaged index, or another version's; remove it and make it again")
    return index


def write_index(index: Index) -> None:
    """Write an index to its folder; it appears whole or not at all, and an earlier one is replaced."""
    with whole_folder(index.folder) as partial:
        about = {"format": _FORMAT, **asdict(index.about)}
        (partial / ABOUT).write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        with (partial / PICTURES).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(picture)) + "\n" for picture in index.pictures)
        np.save(partial / ROWS, index.rows)


def check_place(folder: Path) -> None:
    """Raise DataError where something else lies that ``write_index`` would replace."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: a file; an index is a folder")
    strangers = (
        []
        if not folder.exists()
        else sorted({one.name for one in folder.iterdir()} - {ABOUT, PICTURES, ROWS})
    )
    if strangers:
        raise DataError(
            f"{folder}: holds '{strangers[0]}', which is no part of an index; name a folder of its own"
        )
