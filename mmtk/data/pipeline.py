"""Batches for training and for evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch

from mmtk.data.configs import DEFAULT_LIMITS, DataConfig, EvaluationDataConfig, ImageLimits
from mmtk.data.loading import Loaded, Loader, Preparation, collate
from mmtk.data.mixture import Draw, EpochDraws
from mmtk.data.opening import Process, mix, open_sources
from mmtk.data.parallel import ordered_map
from mmtk.data.positions import Position, deal_anew
from mmtk.data.quarantine import Quarantine, Refusals
from mmtk.data.sources import IndexedSource, StreamRun, StreamSource, Taken, first_reason
from mmtk.errors import DataError, SampleError
from mmtk.kinds import ImageTransform, Reader, TextTransform
from mmtk.types import Batch, Quarantined, RawSample

Part = TypeVar("Part")


@dataclass
class Accounts:
    """Where the samples of a pass went: ``offered == used + quarantined + left_over`` once it is through.

    With several ranks these are one rank's figures; over the ranks they add up to those of the whole.

    Attributes:
        offered: samples that the pass was to take.
        used: of these, how many came in a batch.
        quarantined: how many could not be used.
        left_over: how many were too few for a last batch of an epoch.
    """

    offered: int = 0
    used: int = 0
    quarantined: int = 0
    left_over: int = 0


@dataclass(frozen=True)
class Built(Generic[Part]):
    """A blueprint of something that is built already."""

    part: Part

    def build(self, **_: Any) -> Part:
        return self.part


class _Plan(NamedTuple):
    """What a batch is made of: draws ``(B, 3)``, what streams gave for some of them, and where these stand.

    ``streamed`` is keyed by row, ``positions`` by source.
    """

    draws: np.ndarray
    streamed: dict[int, Taken]
    positions: dict[int, Position]


class TrainingData:
    """Shuffled, augmented batches of a mixture. Everything depends on the seed, the epoch and the draw alone.

    An epoch is one row of draws, counted over all ranks. A step takes the next ``global_batch`` of them, and
    each rank the contiguous part ``[rank * batch_size, (rank + 1) * batch_size)`` of these, so that several
    ranks with small batches see what one rank with a large batch sees, augmented in the same way.

    A sample that can't be used is quarantined and another one of its source takes its place, so every batch
    is full. Only an epoch that is shorter than one global batch gives one smaller batch.

    A draw of a stream takes the next sample of this rank's part of it. Streams go on from epoch to epoch, and
    where they stand is not told by the draw: it is saved with ``state``.

    Attributes:
        batch_size: pairs per batch of this rank.
        global_batch: pairs per batch of all ranks together.
        batches_per_epoch: batches per epoch, the same for every rank.
        quarantine: what this rank could not use so far.
        accounts: where this rank's samples of the latest epoch went.
    """

    def __init__(
        self, config: DataConfig, *, seed: int, rank: int = 0, world: int = 1, pin: bool = False
    ) -> None:
        """Open the sources.

        Args:
            seed: the same on all ranks.
            rank: which of the ``world`` processes this is, from 0.
            world: how many processes share an epoch's draws.
            pin: put batches into page-locked memory, from which they are copied to the current CUDA device
                while it computes.

        Raises DataError when a source can't be opened or holds nothing usable, or when an epoch has too few
        samples to give every rank one.
        """
        self.seed, self.rank, self.world = seed, rank, world
        self.batch_size = config.batch_size
        self.global_batch = config.batch_size * world
        self.workers, self.prefetch = config.workers, config.prefetch
        self.quarantine = Quarantine()
        self.accounts = Accounts()
        self._pin_for = torch.cuda.current_device() if pin else None
        self._refusals = Refusals(self.quarantine, config.max_quarantined)
        self._sources = open_sources(config, Process(seed, rank, world), self._refusals)
        if not self._sources:
            raise DataError("no sources to train on")
        self._mixture = mix(config, self._sources, seed)
        self._streams = {n: s for n, s in enumerate(self._sources) if isinstance(s, StreamSource)}
        self._runs: dict[int, StreamRun] = {}
        self._positions = {number: Position() for number in self._streams}
        if len(self) < world:
            raise DataError(f"an epoch of {len(self)} samples can't be shared out among {world} processes")
        self.batches_per_epoch = self.batches_left(0)

    def __len__(self) -> int:
        """Samples drawn per epoch by all ranks, those of an incomplete last batch included."""
        return len(self._mixture)

    def batches_left(self, taken: int) -> int:
        """Return how many batches ``epoch`` yields from the draw ``taken`` on."""
        left = max(len(self) - taken, 0)
        if len(self) < self.global_batch:
            return int(left >= self.world)
        return left // self.global_batch

    def epoch(self, epoch: int, taken: int = 0) -> Iterator[Batch]:
        """Yield this rank's batches of an epoch.

        Args:
            epoch: which epoch, from 0.
            taken: draws of it that were used already, by all ranks together; any number, so that a run can go
                on with another batch size or another number of ranks.

        Raises DataError if a source is all unusable, or if more was quarantined than the config allows.
        """
        draws = self._mixture.epoch(epoch)
        left = range(min(taken, len(draws)), len(draws))
        steps = self.batches_left(taken)
        used = min(len(left), steps * self.global_batch)
        parts = (self._part(left[:used], step) for step in range(steps))
        in_batches = steps * len(self._part(left[:used], 0))  # there is one, or all are of one size
        left_over = len(_share(left[used:], self.rank, self.world))
        self.accounts = accounts = Accounts(in_batches + left_over, left_over=left_over)

        def make(plan: _Plan) -> tuple[Batch, int, dict[int, Position]]:
            return *self._batch(plan, epoch), plan.positions

        # An iterator that is given up halfway has read ahead of what it yielded.
        runs, self._runs = self._runs or self._start(), {}
        made = ordered_map(make, self._plans(draws, parts, runs), self.workers, self.prefetch)
        for batch, replaced, positions in made:
            accounts.used += len(batch) - replaced
            accounts.quarantined += replaced
            self._positions = positions
            self._refusals.check()
            yield batch
        self._runs = runs

    def _plans(
        self, draws: EpochDraws, parts: Iterable[range], runs: Mapping[int, StreamRun]
    ) -> Iterator[_Plan]:
        """Take what a batch needs of streams; one thread does it, in the order of the batches."""
        for part in parts:
            rows = draws[part.start : part.stop]
            streamed = {
                n: runs[source].take() for n, source in enumerate(rows[:, 0].tolist()) if source in runs
            }
            yield _Plan(rows, streamed, {number: run.position for number, run in runs.items()})

    def _start(self) -> dict[int, StreamRun]:
        return {n: StreamRun(stream, self._positions[n]) for n, stream in self._streams.items()}

    def state(self) -> dict[str, Any]:
        """Return where this rank's streams stand after the last batch that ``epoch`` yielded.

        It is made of JSON's types, and empty where all sources can be read by index: what is left of an epoch
        then follows from ``taken`` alone.
        """
        return {
            stream.name: {"shards": stream.stream.shards_id, **self._positions[number].to_json()}
            for number, stream in self._streams.items()
        }

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on where another run stood.

        With as many ranks as before each goes on exactly. With another number, what the ranks had left of
        their passes, and in their buffers, is dealt out anew: nothing comes twice, and nothing is missed.

        Args:
            states: of all ranks of that run, in their order.

        Raises DataError when they are not about these streams.
        """
        self._runs = {}
        for number, source in self._streams.items():
            positions = []
            for state in states:
                saved = state.get(source.name)
                if saved is None or saved["shards"] != source.stream.shards_id:
                    raise DataError(
                        f"source {source.name!r}: the saved state is about other shards; start the stage anew"
                    )
                positions.append(Position.from_json(saved))
            if len(positions) == self.world:
                self._positions[number] = positions[self.rank]
            else:
                self._positions[number] = deal_anew(positions, source.stream.deal, self.rank, self.world)

    def _part(self, left: range, step: int) -> range:
        """Return what this rank has of the global batch at ``step``: places in the epoch."""
        return _share(left[step * self.global_batch : (step + 1) * self.global_batch], self.rank, self.world)

    def _batch(self, plan: _Plan, epoch: int) -> tuple[Batch, int]:
        """Load a batch, and count the drawn samples that others had to replace."""
        taken = [
            plan.streamed[row] if row in plan.streamed else self._load(Draw(*draw), epoch)
            for row, draw in enumerate(plan.draws.tolist())
        ]
        batch = collate([each.loaded for each in taken])
        if self._pin_for is not None:
            with torch.cuda.device(self._pin_for):  # threads start out on the first one
                batch = batch.pin_memory()
        return batch, sum(each.replaces for each in taken)

    def _load(self, draw: Draw, epoch: int) -> Taken:
        source = self._sources[draw.source]
        assert isinstance(source, IndexedSource), "streams' samples are taken before"
        return source.load(draw, epoch)


class EvaluationData:
    """Batches of one dataset in its own order; can be iterated over again.

    A batch holds each sample's first text. A sample that can't be used is quarantined and left out: a batch
    may be shorter, and one of which nothing is left is not yielded.

    Attributes:
        quarantine: what could not be used so far.
        accounts: where the samples of the latest pass went, with those that the reader's index refused.
    """

    def __init__(self, config: EvaluationDataConfig) -> None:
        """Open the dataset. Raises DataError when that fails or nothing in it is usable."""
        self.batch_size = config.batch_size
        self.workers = config.workers
        reader = config.reader.build()
        preparation = Preparation(
            config.image_transform.build(), config.text_transform.build(), config.limits
        )
        self._loader = Loader(reader, preparation)
        self.prefetch = config.prefetch
        self.samples = len(reader)
        self.quarantine = Quarantine(reader.quarantined)
        self._refusals = Refusals(self.quarantine, config.max_quarantined)
        self.accounts = Accounts()
        self._indices: dict[str, int] = {}
        if not self.samples:
            raise DataError(f"the dataset holds no usable sample{first_reason(reader.quarantined)}")

    @classmethod
    def of(
        cls,
        reader: Reader,
        image_transform: ImageTransform,
        text_transform: TextTransform,
        *,
        batch_size: int = 64,
        workers: int = 0,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> Self:
        """Make one of parts that are built already."""
        return cls(
            EvaluationDataConfig(
                reader=Built(reader),
                image_transform=Built(image_transform),
                text_transform=Built(text_transform),
                batch_size=batch_size,
                workers=workers,
                limits=limits,
            )
        )

    def __len__(self) -> int:
        """Batches per pass."""
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        refused = len(self._loader.reader.quarantined)
        self.accounts = accounts = Accounts(offered=self.samples + refused, quarantined=refused)
        for loaded in ordered_map(self._load, range(len(self)), self.workers, self.prefetch):
            samples = [sample for sample in loaded if sample is not None]
            accounts.used += len(samples)
            accounts.quarantined += len(loaded) - len(samples)
            self._refusals.check()
            if samples:
                yield collate(samples)

    def _load(self, step: int) -> list[Loaded | None]:
        loaded: list[Loaded | None] = []
        for index in range(step * self.batch_size, min((step + 1) * self.batch_size, self.samples)):
            generator = torch.Generator().manual_seed(index)
            self._refusals.count_try()
            try:
                sample = self._loader.load(index, generator, text=0)
                self._indices[sample.key] = index
            except SampleError as error:
                self._refusals.add(Quarantined(error.key, error.reason, error.location))
                sample = None
            loaded.append(sample)
        return loaded

    def texts_of(self, key: str) -> tuple[str, ...]:
        """Return all cleaned texts of a sample. Raises DataError when there is no such key."""
        return self._loader.preparation.texts(self.raw(key))

    def raw(self, key: str) -> RawSample:
        """Return a sample as the reader holds it. Raises DataError when there is no such key."""
        if key not in self._indices:
            self._index_keys()
        if key not in self._indices:
            raise DataError(f"no sample with the key {key!r}")
        return self._loader.read(self._indices[key])

    def _index_keys(self) -> None:
        for index in range(self.samples):
            try:
                self._indices[self._loader.read(index).key] = index
            except SampleError as error:
                self.quarantine.add(Quarantined(error.key, error.reason, error.location))


def _share(places: range, rank: int, world: int) -> range:
    """Return the contiguous part of a rank; the parts' sizes differ by one at most."""
    return places[len(places) * rank // world : len(places) * (rank + 1) // world]
