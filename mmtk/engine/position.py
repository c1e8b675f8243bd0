"""Where a run stands in its data, also after it has gone on with another number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Origin(NamedTuple):
    """From where on batches have their present size: the start, or where the number of ranks changed.

    Attributes:
        step: optimizer steps done by then.
        epoch: the epoch in which that was.
        taken: samples of that epoch that were drawn by then, by all ranks together.
    """

    step: int = 0
    epoch: int = 0
    taken: int = 0


class Place(NamedTuple):
    """Which samples come next: those of ``epoch`` behind the first ``taken``."""

    epoch: int
    taken: int


START, FIRST = Origin(), Place(0, 0)


@dataclass(frozen=True)
class Course:
    """The optimizer steps of a run and what each takes of the data.

    Attributes:
        epochs: passes over the data.
        step_size: samples that a step takes, on all ranks together.
        batches_left: batches that an epoch still gives behind its first so many samples.
        accumulate: batches of one step; the last step of an epoch may have fewer.
        max_steps: the run ends after so many steps, if that is before its last epoch does.
        origin: where the present numbering of batches begins.
    """

    epochs: int
    step_size: int
    batches_left: Callable[[int], int]
    accumulate: int = 1
    max_steps: int | None = None
    origin: Origin = START

    @property
    def steps_per_epoch(self) -> int:
        return self._steps_left(0)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, those before the origin among them."""
        later_epochs = max(self.epochs - self.origin.epoch - 1, 0)
        whole = self.origin.step + self._steps_left(self.origin.taken) + later_epochs * self.steps_per_epoch
        return whole if self.max_steps is None else min(whole, self.max_steps)

    def place(self, step: int) -> Place:
        """Return what the step after ``step`` steps, which are no fewer than the origin's, begins with."""
        behind = step - self.origin.step
        left = self._steps_left(self.origin.taken)
        if behind < left:
            return Place(self.origin.epoch, self.origin.taken + behind * self.step_size)
        epochs, within = divmod(behind - left, self.steps_per_epoch)
        return Place(self.origin.epoch + 1 + epochs, within * self.step_size)

    def scheduled(self, step: int) -> int:
        """Return the step that schedules go by: how far the run is, in steps of the present size.

        It is ``step`` itself as long as the number of ranks doesn't change.
        """
        end_of_epoch = (self.origin.epoch + 1) * self.steps_per_epoch
        return end_of_epoch - self._steps_left(self.origin.taken) + step - self.origin.step

    def ends_epoch(self, step: int) -> bool:
        """Whether the step before ``step`` was the last one of its epoch."""
        return self.scheduled(step) % self.steps_per_epoch == 0

    def _steps_left(self, taken: int) -> int:
        return math.ceil(self.batches_left(taken) / self.accumulate)
