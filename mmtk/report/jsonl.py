"""JSON files that other stages wrote, read with errors that name file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmtk.errors import DataError


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object. Raises DataError when the file is no such thing."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: expected one JSON object: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected one JSON object, found {type(value).__name__}")
    return value


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file; a last line that was cut off is left out.

    Raises DataError, with the line's number, for any other line that is no JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # no line break behind it: its writer was killed
                return
            raise DataError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, found {type(value).__name__}")
        yield value
