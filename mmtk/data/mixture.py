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
    """A source as a mixture sees it."""

    name: str
    samples: int
    weight: float

    @property
    def per_epoch(self) -> int:
        """Draws per epoch, the same in every epoch."""
        return max(1, round(self.samples * self.weight))


class Mixture:
    """Draws from weighted sources, from the seed and the epoch alone.

    A source's samples come in an endless row of shuffled passes, and each epoch takes the next ``weight``
    passes of the row: no sample comes a second time before all others came once. The draws of all sources are
    then shuffled together.
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
        return rows[_permutation(len(rows), self.seed, "epoch", epoch)]

    def _share(self, number: int, epoch: int) -> np.ndarray:
        source = self.sources[number]
        place = np.arange(epoch * source.per_epoch, (epoch + 1) * source.per_epoch)
        turn = place // source.samples
        sample = np.empty_like(place)
        for each in range(turn[0], turn[-1] + 1):
            order = _permutation(source.samples, self.seed, "pass", source.name, int(each))
            sample[turn == each] = order[place[turn == each] % source.samples]
        return np.stack([np.full_like(place, number), sample, turn], axis=1)


def _permutation(size: int, *parts: object) -> np.ndarray:
    generator = torch.Generator().manual_seed(stable_hash(*parts))
    return torch.randperm(size, generator=generator).numpy()
