"""Which samples an epoch draws, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from mmtk.types import stable_hash


class Draw(NamedTuple):
    """One place in an epoch: the source, the sample in it, and which pass over the source it belongs to."""

    source: int
    sample: int
    turn: int


@dataclass(frozen=True)
class SourceSize:
    """A source as a mixture sees it.

    Attributes:
        samples: how many it holds; 0 for a stream, whose draws name no sample.
        per_epoch: draws per epoch, the same in every epoch.
    """

    name: str
    samples: int
    per_epoch: int


class Mixture:
    """Draws from weighted sources, from the seed and the epoch alone.

    A source's samples come in an endless row of shuffled passes, and each epoch takes the next ``per_epoch``
    of the row: no sample comes a second time before all others came once. The draws of all sources are then
    shuffled together.
    """

    def __init__(self, sources: Sequence[SourceSize], seed: int) -> None:
        self.sources = list(sources)
        self.seed = seed

    def __len__(self) -> int:
        """Draws per epoch."""
        return sum(source.per_epoch for source in self.sources)

    def epoch(self, epoch: int) -> np.ndarray:
        """Return the draws of an epoch: ``(len(self), 3)`` int64, one ``Draw`` per row."""
        rows = np.concatenate([self._share(number, epoch) for number in range(len(self.sources))])
        return rows[permutation(len(rows), self.seed, "epoch", epoch)]

    def _share(self, number: int, epoch: int) -> np.ndarray:
        source = self.sources[number]
        if not source.samples:
            return np.stack([np.full(source.per_epoch, each) for each in (number, 0, 0)], axis=1)
        place = np.arange(epoch * source.per_epoch, (epoch + 1) * source.per_epoch)
        turn = place // source.samples
        sample = np.empty_like(place)
        for each in range(turn[0], turn[-1] + 1):
            order = permutation(source.samples, self.seed, "pass", source.name, int(each))
            sample[turn == each] = order[place[turn == each] % source.samples]
        return np.stack([np.full_like(place, number), sample, turn], axis=1)


def shared_out(total: int, shares: Sequence[float]) -> list[int]:
    """Split ``total`` in proportion to ``shares``, by largest remainder; each part is at least 1."""
    exact = [total * share / sum(shares) for share in shares]
    parts = [int(value) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda number: parts[number] - exact[number])
    for number in by_remainder[: total - sum(parts)]:
        parts[number] += 1
    return [max(1, part) for part in parts]


def permutation(size: int, *parts: object) -> np.ndarray:
    """Return 0 to ``size - 1`` in an order that depends on ``parts`` alone."""
    generator = torch.Generator().manual_seed(stable_hash(*parts))
    return torch.randperm(size, generator=generator).numpy()
