"""What the logger takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mmtk.api import Target


@dataclass(frozen=True, kw_only=True)
class SqliteConfig:
    """Figures of many runs in one SQLite file."""

    database: Annotated[Path, Target()] = Path("figures.sqlite")
    """The file, which is made where there is none. Runs may share it, also at one time."""
    run: str | None = None
    """The run's name in it; null takes the folder of its stage."""
