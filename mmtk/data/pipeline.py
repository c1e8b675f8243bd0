"""Batches for training and for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from mmtk.printable import printable
from mmtk.types import Batch, Quarantined, RawSample, stable_hash

Part = TypeVar("Part")


@dataclass
class Accounts:
    """Where the samples of a pass went: ``offered == used + quarantined + left_over`` once it is through.

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
    """Shuffled, augmented batches of a mixture. Everything depends on the seed, the epoch and the step alone.

    A sample that can't be used is quarantined and another one of its source takes its place, so every batch
    is full. Only an epoch that is shorter than one batch gives a smaller one.

    Attributes:
        batches_per_epoch: batches per epoch.
        quarantine: what could not be used so far.
        accounts: where the samples of the latest epoch went.
    """

    def __init__(self, config: DataConfig, *, seed: int) -> None:
        """Open the sources. Raises DataError when one can't be opened or holds nothing usable."""
        self.seed = seed
        self.batch_size = config.batch_size
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
        self.batches_per_epoch = max(1, len(self._mixture) // self.batch_size)

    def __len__(self) -> int:
        """Samples drawn per epoch, those of an incomplete last batch included."""
        return len(self._mixture)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield an epoch's batches from ``start`` on. Raises DataError if a source is all unusable."""
        draws = self._mixture.epoch(epoch)
        end = min(len(draws), self.batches_per_epoch * self.batch_size)
        first = min(start * self.batch_size, end)
        self.accounts = accounts = Accounts(offered=len(draws) - first, left_over=len(draws) - end)

        def make(step: int) -> tuple[Batch, int]:
            return self._batch(draws[step * self.batch_size : min((step + 1) * self.batch_size, end)], epoch)

        for batch, replaced in ordered_map(make, range(start, self.batches_per_epoch), self.workers):
            accounts.used += len(batch) - replaced
            accounts.quarantined += replaced
            yield batch

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


def _first_reason(quarantined: Sequence[Quarantined]) -> str:
    if not quarantined:
        return ""
    first = printable(f"{quarantined[0].key}: {quarantined[0].reason}")
    return f" ({len(quarantined)} quarantined, the first: {first})"
