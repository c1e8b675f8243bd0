"""What the logger takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SqliteConfig:
    """Figures of many runs in one SQLite file."""

    # No Path: what one leads to is an input, and a run whose inputs have changed starts anew.
    database: str = "figures.sqlite"
    """The file, which is made where there is none. Runs may share it, also at one time."""
    run: str | None = None
    """The run's name in it; null takes the folder of its stage."""
