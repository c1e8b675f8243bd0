"""A part of a dataset, so that models can be asked about samples they were not trained on."""

from __future__ import annotations

from collections.abc import Sequence

from mmtk.kinds import Blueprint, Reader
from mmtk.types import Quarantined, RawSample


class FoldReader:
    """Every ``folds``-th sample of a reader from the ``fold``-th on, or all the others.

    A sample's fold is its index modulo ``folds``, so the folds of one dataset share nothing and leave nothing
    out. What the reader's index refused is dealt out likewise.
    """

    def __init__(self, reader: Reader, *, fold: int, folds: int, rest: bool = False) -> None:
        self._reader = reader
        self._indices = [i for i in range(len(reader)) if (i % folds == fold) != rest]
        self.quarantined: Sequence[Quarantined] = [
            entry for i, entry in enumerate(reader.quarantined) if (i % folds == fold) != rest
        ]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> RawSample:
        """Raises SampleError with the reason when this sample can't be read."""
        return self._reader[self._indices[index]]


def fold_reader(*, reader: Blueprint[Reader], fold: int, folds: int = 2, rest: bool = False) -> FoldReader:
    """Open the reader and take the part of it."""
    return FoldReader(reader.build(), fold=fold, folds=folds, rest=rest)
