"""What lies at a path that a recipe names, a file, a folder or what fits a pattern; and paths to write to."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmtk.printable import brief
from mmtk.registry import nearest

BRACES = re.compile(r"\{[^{}]*\}")


if TYPE_CHECKING:
    _Path = Path
else:
    _Path = type(Path())


class WrittenPath(_Path):
    """A path of a field marked by ``Target``: its component writes there, so what lies there is no input."""


def is_input(value: object) -> bool:
    """Whether a value in a checked node is a path that its component reads."""
    return isinstance(value, Path) and not isinstance(value, WrittenPath)


def what_bars(path: Path) -> str | None:
    """Say that a file stands where a folder would have to, for ``path`` to be written; None without one."""
    for folder in path.expanduser().absolute().parents:
        if os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where a name is too long
            return None
        if os.path.exists(folder):  # noqa: PTH110 - likewise
            return f"nothing can be written at {brief(path)}: {brief(folder)} is a file and no folder"
    return None


def path_fault(path: Path | str) -> str | None:
    """Say why no file of this machine can have this path; without a fault its ``~`` stands for a folder."""
    try:
        written = os.fsencode(path)
    except UnicodeEncodeError:
        return f"{brief(path)} has a character that no path can have"
    if b"\0" in written:
        return f"{brief(path)} has the character \\x00, which no path can have"
    try:
        Path(path).expanduser()
    except RuntimeError:
        return f"there is no home folder {brief(Path(path).parts[0])} on this machine"
    return None


def matches(path: Path) -> list[Path]:
    """Return what lies at ``path``, in order.

    Braces (``a-{0000..0123}.tar``) are read as ``*``: which of the names are meant is for the reader to say.
    """
    if path_fault(path):
        return []
    path = path.expanduser()
    if os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long
        return [path]
    found = glob.glob(BRACES.sub("*", str(path)))  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [Path(name) for name in sorted(found)]


def what_is_missing(path: Path) -> str | None:
    """Say that nothing lies at ``path``, with the nearest name that does; None where something does."""
    if fault := path_fault(path):
        return fault
    if matches(path):
        return None
    path = path.expanduser()
    seen = "" if path.is_absolute() else f", seen from {Path.cwd()}"
    if glob.has_magic(BRACES.sub("*", str(path))):
        return f"no file fits the pattern {brief(path)}{seen}"
    near = near_file(path)
    hint = f"; did you mean {near}?" if near else ""
    return f"there is no file or folder {brief(path)}{seen}{hint}"


def what_is_else(path: Path, form: Literal["file", "folder"] | None) -> str | None:
    """Say that a folder lies at ``path`` where a file is wanted, or the other way round."""
    if form == "file" and path.is_dir():
        return f"{brief(path)} is a folder, and a file is expected"
    if form == "folder" and path.is_file():
        return f"{brief(path)} is a file, and a folder is expected"
    return None


def near_file(path: Path) -> Path | None:
    """Return what lies beside ``path`` with the nearest name, if there is any such."""
    try:
        beside = os.listdir(path.parent)  # noqa: PTH208 - names are wanted
    except OSError:
        return None
    # By their stems first: names that share no more than a long ending are not near each other.
    stem = nearest(path.stem, [Path(name).stem for name in beside])
    near = nearest(path.name, [name for name in beside if Path(name).stem == stem])
    return path.parent / near if near else None
