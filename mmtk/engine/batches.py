"""The batches of each step, the first ones of an epoch read while the last step of the one before is done."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

from mmtk.data.pipeline import TrainingData
from mmtk.engine.position import Course
from mmtk.engine.step_clock import section
from mmtk.types import Batch

Batches = Generator[Batch, None, None]
Steps = Generator[tuple[int, list[Batch], float], None, None]


def step_batches(data: TrainingData, course: Course, start: int) -> Steps:
    """Yield the steps from ``start`` on, each with its batches and the seconds they were waited for.

    The batches that are too few for a full last step of an epoch make a shorter one. An epoch is begun ahead
    of time where workers read ahead, unless it is of streams: a saved state holds where they stand.
    """
    step = start
    ahead = data.workers > 0 and not data.state()
    epoch = _Epoch(data, course, step)
    try:
        while step < course.total_steps:
            asked = time.perf_counter()
            with section("data wait"):
                gathered = epoch.take()
            waited = time.perf_counter() - asked
            ended = course.ends_epoch(step + 1)
            if ended:
                epoch.close()
                if step + 1 < course.total_steps:
                    epoch = _Epoch(data, course, step + 1, ahead=ahead)
            yield step, gathered, waited
            step += 1
    finally:
        epoch.close()


class _Epoch:
    """What is left of an epoch before a step.

    Args:
        ahead: read its first batches in the background.
    """

    def __init__(self, data: TrainingData, course: Course, step: int, *, ahead: bool = False) -> None:
        self._batches = cast(Batches, data.epoch(*course.place(step)))
        self._count = course.accumulate
        self._first: Future[list[Batch]] | None = None
        if ahead:
            executor = ThreadPoolExecutor(1, thread_name_prefix="mmtk-epoch")
            self._first = executor.submit(self._next)
            executor.shutdown(wait=False)

    def take(self) -> list[Batch]:
        """Return the batches of the next step. Raises what reading them raised."""
        if self._first is None:
            return self._next()
        first, self._first = self._first, None
        return first.result()

    def close(self) -> None:
        if self._first is not None:
            with contextlib.suppress(Exception):  # nobody asks for these batches any more
                self._first.result()
        self._batches.close()

    def _next(self) -> list[Batch]:
        return list(itertools.islice(self._batches, self._count))
