"""The kinds that drive training and measure it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from mmtk.types import Batch

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mmtk.distributed.spread import Spread, Workload
    from mmtk.engine.learner import Learner
    from mmtk.stages.context import StageContext


class OptimizerFactory(Protocol):
    def __call__(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer: ...


class Schedule(Protocol):
    """Learning rate over time."""

    def __call__(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """Return the factor on the optimizer's peak rate at ``step`` (0-based)."""


class Strategy(Protocol):
    """How training is spread over the ranks of a run.

    One that can't do without CUDA says so by an attribute ``needs_cuda`` of its class, for ``mmtk doctor``.
    One with a method ``refusal(device, ranks)`` is asked before a run's first stage: of the device's type,
    ``cpu`` or ``cuda``, and the number of ranks it says why it can't run there, or None.
    """

    def __call__(self, workload: Workload) -> Spread:
        """Put the workload in its place. Every rank calls it, with equal workloads.

        A strategy that shards the learner shards the momentum encoder's ``twin`` likewise: both then hold
        shards of equal shapes, so that a moving average works on them. Of one rank it makes what ``single``
        makes.

        Raises StageError where device or backend can't run it correctly.
        """


class LayerWrapper(Protocol):
    """Changes how layers are computed, not what: activation checkpointing."""

    def __call__(self, layers: Sequence[nn.Module]) -> None:
        """Change the layers in place; the names of their parameters stay."""


class Logger(Protocol):
    """Takes the figures of a run. Built with ``folder``, on the first rank alone.

    It may have a method ``rewind(step)``, which is called first, with the step that a resumed run goes on
    after, or 0; and methods marked by ``hookimpl``, which hear of the stage's events. One that fails while
    the stage runs is named once and left out, as a plugin is, unless it has an attribute ``required`` that is
    true: it writes an output of the stage, and its failure is the stage's.
    """

    def log(self, step: int, figures: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Metric(Protocol):
    """Scores a learner on a dataset."""

    def __call__(
        self, learner: Learner, data: Iterator[Batch] | Iterable[Batch], context: StageContext
    ) -> Mapping[str, float]:
        """Return named figures. ``data`` can be iterated over more than once."""
