"""Means of a run's figures over the steps between two logged lines."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any


class Window:
    """Collects steps; ``close`` returns their means and starts over.

    Args:
        clock: seconds since some fixed time.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._start_over()

    def _start_over(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self._samples = 0
        self._waited = 0.0
        self._started = self._clock()

    def add(self, figures: Mapping[str, float], samples: int, waited: float) -> None:
        """Take one step's figures, its number of samples and the seconds spent waiting for its batch."""
        for name, value in figures.items():
            self._sums[name] += value
            self._counts[name] += 1
        self._samples += samples
        self._waited += waited

    def close(self) -> dict[str, float]:
        """Return each figure's mean, ``samples_per_second``, and ``data_wait``: the share of the time."""
        seconds = max(self._clock() - self._started, 1e-9)
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        means["samples_per_second"] = self._samples / seconds
        means["data_wait"] = min(self._waited / seconds, 1.0)
        self._start_over()
        return means

    def state(self) -> dict[str, Any]:
        """What it holds, as JSON, so that a resumed run logs the same means."""
        return {
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "samples": self._samples,
            "waited": self._waited,
            "seconds": self._clock() - self._started,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from another window's ``state``."""
        self._sums.update(state["sums"])
        self._counts.update(state["counts"])
        self._samples, self._waited = state["samples"], state["waited"]
        self._started = self._clock() - state["seconds"]
