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

    def epoch(self, epoch: int) -> EpochDraws:
        """Return the draws of an epoch."""
        return EpochDraws(self.sources, self.seed, epoch)


class EpochDraws:
    """The draws of one epoch, worked out when they are asked for: an epoch may be of 100 million samples.

    It holds 4 bytes per draw, and as much per sample of each pass that the epoch touches.
    """

    def __init__(self, sources: Sequence[SourceSize], seed: int, epoch: int) -> None:
        self._sources = sources
        self._ends = np.cumsum([source.per_epoch for source in sources])
        self._starts = [epoch * source.per_epoch for source in sources]
        self._order = permutation(int(self._ends[-1]), seed, "epoch", epoch)
        self._passes: list[dict[int, np.ndarray]] = []
        for source, start in zip(sources, self._starts, strict=True):
            turns = _turns(source, start)
            self._passes.append(
                {turn: permutation(source.samples, seed, "pass", source.name, turn) for turn in turns}
            )

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, places: slice) -> np.ndarray:
        """Return draws: ``(N, 3)`` int64, one ``Draw`` per row."""
        chosen = self._order[places].astype(np.int64)
        number = np.searchsorted(self._ends, chosen, side="right")
        rows = np.zeros((len(chosen), 3), np.int64)
        rows[:, 0] = number
        for each, source in enumerate(self._sources):
            here = np.flatnonzero(number == each)
            if source.samples and len(here):
                place = chosen[here] - self._ends[each] + source.per_epoch + self._starts[each]
                rows[here, 2] = place // source.samples
                for turn, order in self._passes[each].items():
                    of_turn = rows[here, 2] == turn
                    rows[here[of_turn], 1] = order[place[of_turn] % source.samples]
        return rows


def _turns(source: SourceSize, start: int) -> range:
    """The passes over a source of which an epoch takes something."""
    if not source.samples:
        return range(0)
    return range(start // source.samples, (start + source.per_epoch - 1) // source.samples + 1)


def shared_out(total: int, shares: Sequence[float]) -> list[int]:
    """Split ``total`` in proportion to ``shares``, by largest remainder; each part is at least 1."""
    exact = [total * share / sum(shares) for share in shares]
    parts = [int(value) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda number: parts[number] - exact[number])
    for number in by_remainder[: total - sum(parts)]:
        parts[number] += 1
    return [max(1, part) for part in parts]


def permutation(size: int, *parts: object) -> np.ndarray:
    """Return 0 to ``size - 1``, ``(size,)`` int32 or int64, in an order that depends on ``parts`` alone."""
    generator = torch.Generator().manual_seed(stable_hash(*parts))
    dtype = torch.int32 if size < 2**31 else torch.int64
    return torch.randperm(size, generator=generator, dtype=dtype).numpy()
