"""Batches as large as the device's memory takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch

from mmtk.errors import MmtkError

FIRST = 16
LARGEST = 512  # more is no faster, and the first results take longer to come

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchSize:
    """How many items go in a batch; it doubles while all goes well, up to a limit that memory may lower.

    Attributes:
        now: of the next batch.
    """

    def __init__(self, asked: int | None, device: str) -> None:
        """Start at ``asked`` and don't grow, or, where that is None, at what suits the device."""
        self.now = asked or FIRST
        self._limit = LARGEST if asked is None and device.startswith("cuda") else self.now

    def grow(self) -> None:
        self.now = min(2 * self.now, self._limit)

    def shrink(self, failed: int) -> None:
        """Take half of a batch that did not fit. Raises MmtkError when that was a single item."""
        if failed <= 1:
            raise MmtkError("the device's memory is too small even for a batch of one; try --device cpu")
        self.now = self._limit = failed // 2


def in_batches(
    items: Iterable[Item], compute: Callable[[list[Item]], Sequence[Result]], size: BatchSize
) -> Iterator[Result]:
    """Yield the results of ``compute`` in the items' order; a batch that does not fit is tried in halves.

    Raises MmtkError when a single item does not fit.
    """
    source = iter(items)
    waiting: list[Item] = []
    while True:
        waiting += itertools.islice(source, max(size.now - len(waiting), 0))
        part = waiting[: size.now]
        if not part:
            return
        results: Sequence[Result] | None = None
        try:
            results = compute(part)
        except torch.OutOfMemoryError:
            size.shrink(len(part))
        if results is None:
            torch.cuda.empty_cache()  # only now, as the error holds on to what was computed
            continue
        del waiting[: len(part)]
        size.grow()
        yield from results
