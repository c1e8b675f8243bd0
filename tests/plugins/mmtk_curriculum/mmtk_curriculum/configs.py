"""What the sampler takes. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from mmtk.api import Range


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """From even draws to the hardest pair."""

    steps: Annotated[int, Range(1)]
    """Batches over which hardness rises, in a line."""
    start: Annotated[float, Range(0, 1)] = 0.0
    """Hardness of the first batch: the chance that a row takes its hardest negative, and draws none."""
    end: Annotated[float, Range(0, 1)] = 1.0
    """Hardness after `steps`. Below 1 where texts are wrong: the hardest negative may be a right one."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.end < self.start:
            yield "end", f"{self.end:g} is below start, {self.start:g}: a curriculum gets harder"
