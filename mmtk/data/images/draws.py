"""Uniform draws from a torch generator, cheap enough for a dozen per picture."""

from __future__ import annotations

from collections.abc import Iterator

import torch

CHUNK = 32  # one call of torch.rand costs as much as 32 values


class Draws:
    """Numbers from one generator, in order."""

    def __init__(self, generator: torch.Generator) -> None:
        self._values = _uniform(generator)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._values)

    def below(self, count: int) -> int:
        """Return an integer from 0 to ``count - 1``."""
        return min(int(next(self._values) * count), count - 1)

    def chance(self, probability: float) -> bool:
        return next(self._values) < probability


def _uniform(generator: torch.Generator) -> Iterator[float]:
    while True:
        yield from torch.rand(CHUNK, generator=generator, dtype=torch.float64).tolist()
