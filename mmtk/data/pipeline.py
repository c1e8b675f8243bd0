"""Batches for training and for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch

from mmtk.data.configs import DEFAULT_LIMITS, DataConfig, EvaluationDataConfig, ImageLimits
from mmtk.data.loading import Loaded, Loader, collate
from mmtk.data.mixture import Draw, Mixture, SourceSize
from mmtk.data.parallel import ordered_map
from mmtk.data.quarantine import Quarantine
from mmtk.errors import DataError, SampleError
from mmtk.kinds import ImageTransform, Reader, TextTransform
from mmtk.types import Batch, Quarantined, RawSample, stable_hash

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


class TrainingData:
    """Shuffled, augmented batches of a mixture. Everything depends on the seed, the epoch and the draw alone.

    An epoch is one row of draws, counted over all ranks. A step takes the next ``global_batch`` of them, and
    each rank the contiguous part ``[rank * batch_size, (rank + 1) * batch_size)`` of these, so that several
    ranks with small batches see what one rank with a large batch sees, augmented in the same way.

    A sample that can't be used is quarantined and another one of its source takes its place, so every batch
    is full. Only an epoch that is shorter than one global batch gives one smaller batch.

    Attributes:
        batch_size: pairs per batch of this rank.
        global_batch: pairs per batch of all ranks together.
        batches_per_epoch: batches per epoch, the same for every rank.
        quarantine: what this rank could not use so far.
        accounts: where this rank's samples of the latest epoch went.
    """

    def __init__(self, config: DataConfig, *, seed: int, rank: int = 0, world: int = 1) -> None:
        """Open the sources.

        Args:
            seed: the same on all ranks.
            rank: which of the ``world`` processes this is, from 0.
            world: how many processes share an epoch's draws.

        Raises DataError when a source can't be opened or holds nothing usable, or when an epoch has too few
        samples to give every rank one.
        """
        self.seed, self.rank, self.world = seed, rank, world
        self.batch_size = config.batch_size
        self.global_batch = config.batch_size * world
        self.workers = config.workers
        self.quarantine = Quarantine()
        self.accounts = Accounts()
        image_transform, text_transform = config.image_transform.build(), config.text_transform.build()
        self._loaders: list[Loader] = []
        sizes: list[SourceSize] = []
        for name, source in config.sources.items():
            try:
                reader = source.reader.build()
            except DataError as error:
                raise DataError(f"source {name!r}: {error}") from error
            for entry in reader.quarantined:
                self.quarantine.add(entry)
            if not len(reader):
                raise DataError(f"source {name!r} holds no usable sample{_first_reason(reader.quarantined)}")
            loader = Loader(reader, image_transform, text_transform, config.limits, config.cache_decoded)
            self._loaders.append(loader)
            sizes.append(SourceSize(name, len(reader), source.weight))
        if not sizes:
            raise DataError("no sources to train on")
        self._mixture = Mixture(sizes, seed)
        self._unusable: list[set[int]] = [set() for _ in sizes]
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

        Raises DataError if a source is all unusable.
        """
        draws = self._mixture.epoch(epoch)[taken:]
        steps = self.batches_left(taken)
        used = min(len(draws), steps * self.global_batch)
        parts = [self._part(draws[:used], step) for step in range(steps)]
        left_over = len(_share(draws[used:], self.rank, self.world))
        self.accounts = accounts = Accounts(sum(map(len, parts)) + left_over, left_over=left_over)

        def make(rows: np.ndarray) -> tuple[Batch, int]:
            return self._batch(rows, epoch)

        for batch, replaced in ordered_map(make, parts, self.workers):
            accounts.used += len(batch) - replaced
            accounts.quarantined += replaced
            yield batch

    def state(self) -> dict[str, Any]:
        """Return where this rank's streams stand after the last batch that ``epoch`` yielded.

        It is made of JSON's types, and empty where all sources can be read by index: what is left of an epoch
        then follows from ``taken`` alone.
        """
        return {}

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on where another run's ``state`` was: ``states`` of all its ranks, in their order."""

    def _part(self, draws: np.ndarray, step: int) -> np.ndarray:
        """Return what this rank has of the global batch at ``step``."""
        return _share(draws[step * self.global_batch : (step + 1) * self.global_batch], self.rank, self.world)

    def _batch(self, rows: np.ndarray, epoch: int) -> tuple[Batch, int]:
        """Load a batch, and count the drawn samples that others had to replace."""
        loaded = [self._load(Draw(*row), epoch) for row in rows.tolist()]
        return collate([sample for sample, _ in loaded]), sum(replaced for _, replaced in loaded)

    def _load(self, draw: Draw, epoch: int) -> tuple[Loaded, bool]:
        """Load the drawn sample, or another one of its source, and say whether it is another one."""
        source = self._mixture.sources[draw.source]
        unusable = self._unusable[draw.source]
        place = (self.seed, epoch, source.name, draw.sample, draw.turn)
        start = stable_hash(*place, "substitute")
        for attempt in range(source.samples + 1):
            index = draw.sample if attempt == 0 else (start + attempt) % source.samples
            if index in unusable:
                continue
            generator = torch.Generator().manual_seed(stable_hash(*place, attempt))
            try:
                return self._loaders[draw.source].load(index, generator, draw_text=True), attempt > 0
            except SampleError as error:
                self.quarantine.add(Quarantined(error.key, error.reason, error.location))
                unusable.add(index)
        reason = _first_reason(self.quarantine.entries)
        raise DataError(f"source {source.name!r}: none of its {source.samples} samples can be used{reason}")


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
        self._loader = Loader(
            reader, config.image_transform.build(), config.text_transform.build(), config.limits
        )
        self.samples = len(reader)
        self.quarantine = Quarantine(reader.quarantined)
        self.accounts = Accounts()
        self._indices: dict[str, int] = {}
        if not self.samples:
            raise DataError(f"the dataset holds no usable sample{_first_reason(reader.quarantined)}")

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
        for loaded in ordered_map(self._load, range(len(self)), self.workers):
            samples = [sample for sample in loaded if sample is not None]
            accounts.used += len(samples)
            accounts.quarantined += len(loaded) - len(samples)
            if samples:
                yield collate(samples)

    def _load(self, step: int) -> list[Loaded | None]:
        loaded: list[Loaded | None] = []
        for index in range(step * self.batch_size, min((step + 1) * self.batch_size, self.samples)):
            generator = torch.Generator().manual_seed(index)
            try:
                sample = self._loader.load(index, generator, draw_text=False)
                self._indices[sample.key] = index
            except SampleError as error:
                self.quarantine.add(Quarantined(error.key, error.reason, error.location))
                sample = None
            loaded.append(sample)
        return loaded

    def texts_of(self, key: str) -> tuple[str, ...]:
        """Return all cleaned texts of a sample. Raises DataError when there is no such key."""
        return self._loader.texts(self.raw(key))

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


def _share(rows: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Return the contiguous part of a rank; the parts' sizes differ by one at most."""
    return rows[len(rows) * rank // world : len(rows) * (rank + 1) // world]


def _first_reason(quarantined: Sequence[Quarantined]) -> str:
    if not quarantined:
        return ""
    return f" ({len(quarantined)} quarantined, the first: {quarantined[0].key}: {quarantined[0].reason})"
