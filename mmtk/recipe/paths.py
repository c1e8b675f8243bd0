"""What lies at a path that a recipe names: a file, a folder, or what fits a pattern."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from mmtk.printable import brief
from mmtk.registry import nearest

BRACES = re.compile(r"\{[^{}]*\}")


def matches(path: Path) -> list[Path]:
    """Return what lies at ``path``, in order.

    Braces (``a-{0000..0123}.tar``) are read as ``*``: which of the names are meant is for the reader to say.
    """
    path = path.expanduser()
    if os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long
        return [path]
    found = glob.glob(BRACES.sub("*", str(path)))  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [Path(name) for name in sorted(found)]


def what_is_missing(path: Path) -> str | None:
    """Say that nothing lies at ``path``, with the nearest name that does; None where something does."""
    if matches(path):
        return None
    path = path.expanduser()
    seen = "" if path.is_absolute() else f", seen from {Path.cwd()}"
    if glob.has_magic(BRACES.sub("*", str(path))):
        return f"no file fits the pattern {brief(path)}{seen}"
    near = near_file(path)
    hint = f"; did you mean {near}?" if near else ""
    return f"there is no file or folder {brief(path)}{seen}{hint}"


def near_file(path: Path) -> Path | None:
    """Return what lies beside ``path`` with the nearest name, if there is any such."""
    try:
        beside = os.listdir(path.parent)  # noqa: PTH208 - names are wanted
    except OSError:
        return None
    near = nearest(path.name, beside)
    return path.parent / near if near else None
