"""Steps whose loss or gradient was not finite: skipped, counted and noted, up to a limit."""

from __future__ import annotations

import json
from pathlib import Path

from mmtk.distributed.collectives import rank
from mmtk.engine.loggers import forget_after
from mmtk.engine.trainer import NonFiniteStepError

NONFINITE = "nonfinite.jsonl"


class NonFiniteLog:
    """One JSON object per skipped step, with its losses and the keys of its samples.

    Args:
        folder: of the stage; rank 0 writes there.
        limit: how many steps in a row may be skipped.

    Attributes:
        in_a_row: skipped steps up to now.
        total: all of the stage.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._path = folder / NONFINITE
        self._limit = limit
        self.in_a_row = 0
        self.total = 0

    def add(self, step: int, skipped: NonFiniteStepError) -> str:
        """Note a skipped step and return what to tell the user. Raises ``skipped`` past the limit."""
        self.in_a_row += 1
        self.total += 1
        if rank() == 0:
            losses = {name: str(value) for name, value in skipped.figures.items()}
            line = json.dumps(
                {"step": step + 1, "figures": losses, "keys": skipped.keys, "why": str(skipped)}
            )
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        if self.in_a_row > self._limit:
            raise skipped
        return f"skipped ({self.in_a_row} in a row, at most {self._limit}), see {NONFINITE}: {skipped}"

    def load(self, in_a_row: int, total: int, *, step: int) -> None:
        """Go on after ``step`` steps; what a killed try noted after them is forgotten: it comes again."""
        self.in_a_row, self.total = in_a_row, total
        if rank() == 0 and self._path.exists():
            forget_after(step, self._path)
