"""The sources of a mixture: samples that are ready for a batch, from readers and from streams."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from mmtk.data.loading import Loaded, Loader, Preparation
from mmtk.data.mixture import Draw
from mmtk.data.parallel import ordered_map
from mmtk.data.positions import Position
from mmtk.data.quarantine import LimitPassedError, Refusals
from mmtk.data.shuffled_stream import Drawn, ShuffledStream
from mmtk.errors import DataError, SampleError
from mmtk.printable import brief
from mmtk.types import Quarantined, stable_hash

CHUNK = 8  # samples that a worker takes at once: threads hand over costs more than small pictures do


class Taken(NamedTuple):
    """A sample for a batch, and whether it takes the place of one that can't be used."""

    loaded: Loaded
    replaces: bool


class IndexedSource:
    """A reader's samples, each drawn by its index. Safe to share between threads."""

    def __init__(self, name: str, loader: Loader, *, seed: int, in_turn: bool, refusals: Refusals) -> None:
        self.name = name
        self.samples = len(loader.reader)
        self._loader = loader
        self._seed = seed
        self._in_turn = in_turn
        self._refusals = refusals
        self._unusable: set[int] = set()
        self._tried = bytearray(self.samples)

    def load(self, draw: Draw, epoch: int) -> Taken:
        """Load the drawn sample, or another one. Raises DataError when none is usable, or past the limit."""
        place = (self._seed, epoch, self.name, draw.sample, draw.turn)
        for attempt, index in enumerate(self._candidates(draw.sample, stable_hash(*place, "substitute"))):
            if index in self._unusable:
                continue
            if not self._tried[index]:
                self._tried[index] = 1
                self._refusals.count_try()
            generator = torch.Generator().manual_seed(stable_hash(*place, attempt))
            # Samples begin with different texts, so that no epoch sees the first ones alone.
            text = index + draw.turn if self._in_turn else None
            try:
                return Taken(self._loader.load(index, generator, text), attempt > 0)
            except SampleError as error:
                self._refusals.add(Quarantined(error.key, error.reason, error.location))
                self._unusable.add(index)
        reason = first_reason(self._refusals.quarantine.entries)
        raise DataError(f"source {self.name!r}: none of its {self.samples} samples can be used{reason}")

    def _candidates(self, first: int, seed: int) -> Iterator[int]:
        """Yield ``first`` and then every index, by a stride that leaps out of runs of damaged samples."""
        yield first
        stride = 1 + seed // self.samples % self.samples
        while math.gcd(stride, self.samples) > 1:
            stride += 1
        for step in range(self.samples):
            yield (seed + step * stride) % self.samples


class StreamSource:
    """What a stream's samples become on their way into a batch."""

    def __init__(
        self,
        name: str,
        stream: ShuffledStream,
        preparation: Preparation,
        *,
        in_turn: bool,
        workers: int,
        prefetch: int,
        refusals: Refusals,
    ) -> None:
        self.name = name
        self.stream = stream
        self.workers = workers
        self.prefetch = prefetch
        self.refusals = refusals
        self._preparation = preparation
        self._in_turn = in_turn

    def prepare(self, chunk: Sequence[Drawn]) -> list[tuple[Drawn, Loaded | Quarantined]]:
        """Decode and augment some samples, or say why they can't be used."""
        return [(drawn, self._load(drawn)) for drawn in chunk]

    def _load(self, drawn: Drawn) -> Loaded | Quarantined:
        place = drawn.place
        self.refusals.count_try()
        generator = torch.Generator().manual_seed(stable_hash(self.stream.seed, self.name, *place))
        text = place.number + place.turn if self._in_turn else None
        try:
            return self._preparation.finish(self._preparation.decode(drawn.sample), generator, text)
        except SampleError as error:
            return Quarantined(error.key, error.reason, error.location)


class StreamRun:
    """Reads a stream from a position on, in its order; workers read and decode ahead.

    Attributes:
        position: behind the last sample that ``take`` returned.
    """

    def __init__(self, source: StreamSource, position: Position) -> None:
        self.position = position
        self._source = source
        self._usable = self._read(position)

    def take(self) -> Taken:
        """Return the next usable sample. Raises DataError when whole passes bring none, or past the limit."""
        try:
            return next(self._usable)
        except LimitPassedError:
            raise
        except DataError as error:
            reason = first_reason(self._source.refusals.quarantine.entries)
            raise DataError(f"source {self._source.name!r}: {error}{reason}") from error

    def _read(self, position: Position) -> Iterator[Taken]:
        source = self._source
        chunks = _chunked(source.stream.read(position))
        replaces = False
        since: int | None = None  # the pass that brought the first of the unusable samples in a row
        for results in ordered_map(source.prepare, chunks, source.workers, source.prefetch):
            for drawn, outcome in results:
                if isinstance(outcome, Loaded):
                    self.position = drawn.behind
                    yield Taken(outcome, replaces)
                    replaces, since = False, None
                    continue
                source.refusals.add(outcome)
                replaces = True
                since = drawn.place.turn if since is None else since
                if drawn.place.turn > since + source.stream.patience:
                    raise DataError(
                        f"none of the samples in its {len(source.stream.stream.shards)} shards can be used"
                    )


def _chunked(samples: Iterator[Drawn]) -> Iterator[tuple[Drawn, ...]]:
    while chunk := tuple(itertools.islice(samples, CHUNK)):
        yield chunk


def first_reason(quarantined: Sequence[Quarantined]) -> str:
    """Say how many samples were quarantined and what the first one's reason is; nothing if there are none."""
    if not quarantined:
        return ""
    first = f"{brief(quarantined[0].key)}: {brief(quarantined[0].reason)}"
    return f" ({len(quarantined)} quarantined, the first: {first})"
