"""Picture files that a table names by their paths."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mmtk.data.readers.tar_samples import MAX_IMAGE
from mmtk.errors import DataError


def check_folder(images: Path | None) -> None:
    """Raise DataError when a folder of pictures is named that isn't there."""
    if images is not None and not images.is_dir():
        raise DataError(f"no such image folder: {images}")


def image_path(folder: Path, name: str) -> Path:
    """Return the path of a picture in ``folder``.

    Raises DataError when the name leads out of it: a table from elsewhere must not choose among all files of
    this machine.
    """
    base = os.path.abspath(folder)  # noqa: PTH100 (Path.resolve follows links, which the user may have set)
    path = Path(os.path.normpath(os.path.join(base, name)))  # noqa: PTH118
    if not path.is_relative_to(base):
        raise DataError(f"bad item: image {name[:200]!r} lies outside of the folder {folder}")
    return path


def read_image_file(path: Path) -> bytes:
    """Read a picture file. Raises DataError when it is missing, no file or larger than 256 MiB."""
    try:
        status = path.stat()
        # Opening a pipe would wait for somebody to write to it.
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"no image: {path} is no file")
        if status.st_size > MAX_IMAGE:
            raise DataError(f"image too large: {path} has {status.st_size} bytes, the limit is {MAX_IMAGE}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"no image: can't read {path}: {reason}") from error
