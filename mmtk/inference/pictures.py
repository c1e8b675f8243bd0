"""Finding pictures by names, folders and patterns, and reading them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmtk.data.configs import ImageLimits
from mmtk.data.images.decode import decode_image
from mmtk.data.parallel import ordered_map
from mmtk.errors import DataError
from mmtk.kinds import ImageTransform

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# A picture that someone asks about may be small or long; only what would exhaust the memory is refused.
LIMITS = ImageLimits(min_edge=1, max_aspect=float("inf"))
READERS = min(8, os.cpu_count() or 1)
READ_AHEAD = 8  # pictures per reader


@dataclass(frozen=True)
class PictureRead:
    """A picture as a model takes it, ``(3, H, W)`` float32, or why it can't be read."""

    path: str
    pixels: Tensor | None = None
    error: str = ""


def find_pictures(names: Iterable[str | Path], lines: Iterable[str] = ()) -> list[str]:
    """Return the pictures that ``names`` stand for, each name's in alphabetical order.

    A folder stands for the pictures below it, a pattern (``*``, ``?``, ``[…]``, ``**`` for folders within
    folders) for those that match; in both a picture is what ends like one (``SUFFIXES``). Any other name
    stands for itself, and so does one that stands for nothing: it can't be read, which is then said.

    Args:
        lines: what ``-`` stands for, a name each.
    """
    found: list[str] = []
    for name in map(str, names):
        if name == "-":
            found += find_pictures(line for line in lines if line)
        elif os.path.lexists(name) and not Path(name).is_dir():
            found.append(name)
        else:
            found += _below(name) or [name]
    return found


def _below(name: str) -> list[str]:
    """The pictures in a folder, or those that match a pattern."""
    if Path(name).is_dir():
        places = (os.path.join(folder, file) for folder, _, files in os.walk(name) for file in files)  # noqa: PTH118
    elif glob.has_magic(name):
        places = (place for place in glob.iglob(name, recursive=True) if Path(place).is_file())  # noqa: PTH207
    else:
        return []
    return sorted({place for place in places if place.lower().endswith(SUFFIXES)})


def read_pictures(paths: Iterable[str], transform: ImageTransform) -> Iterator[PictureRead]:
    """Read pictures in several threads, in the order given."""
    return ordered_map(lambda path: read_picture(path, transform), paths, READERS, READ_AHEAD)


def read_picture(path: str, transform: ImageTransform) -> PictureRead:
    """Read one picture."""
    try:
        image = decode_image(_content(Path(path)), LIMITS)
        return PictureRead(path, transform(image, torch.Generator().manual_seed(0)))
    except DataError as error:
        return PictureRead(path, error=str(error))


def _content(path: Path) -> bytes:
    if path.is_dir():
        if _below(str(path)):
            raise DataError("a folder; name one picture in it")
        raise DataError(f"no pictures in this folder ({', '.join(SUFFIXES)})")
    if not path.exists():
        raise DataError("no such file" + (", and nothing matches" if glob.has_magic(str(path)) else ""))
    if not path.is_file():
        raise DataError("no regular file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}") from error
