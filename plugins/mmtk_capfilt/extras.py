"""Libraries that few passes need, and that come with extras of mmtk."""

from __future__ import annotations

from importlib.util import find_spec


def missing(library: str, extra: str) -> str | None:
    """Say that a library isn't there, and how to install it; None if it is."""
    return None if find_spec(library) else f"needs the library {library}: pip install 'mmtk[{extra}]'"
