"""Samples that lie in several files, counted through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Found(NamedTuple):
    """Which part a sample lies in, and its index there."""

    part: int
    row: int


class Parts:
    """Parts of given lengths, one behind the other."""

    def __init__(self, lengths: Iterable[int]) -> None:
        self._starts = np.cumsum([0, *lengths])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def find(self, index: int) -> Found:
        """Say where a sample lies. An index may count from the end. Raises IndexError beyond either end."""
        index = range(len(self))[index]
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return Found(part, index - int(self._starts[part]))
