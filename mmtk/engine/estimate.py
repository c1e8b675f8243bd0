"""What a training would take: parameters, steps, memory and time, without training."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmtk.data.pipeline import TrainingData
from mmtk.distributed.spread import Workload
from mmtk.distributed.strategies import plain
from mmtk.engine.checkpoint import build_learner, load_nodes
from mmtk.engine.configs import TrainConfig
from mmtk.engine.learner import Learner
from mmtk.engine.objective import Objective
from mmtk.engine.position import Course
from mmtk.engine.training_state import ensure_optimizer_state
from mmtk.errors import CheckpointError, MmtkError
from mmtk.registry import Registry
from mmtk.report.wording import counted
from mmtk.stages.context import EstimateContext
from mmtk.stages.wording import duration, size

NOT_INCLUDED = "without activations, copies in half precision and buffers for communication"


@dataclass(frozen=True)
class Memory:
    """Bytes of a process that holds everything.

    Attributes:
        weights: of the learner, its buffers included.
        gradients: of what is trained.
        optimizer: its state, once it has stepped.
        average: the momentum encoder's slow copy.
        queue: its buffers, the queue most of all.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    queue: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.average + self.queue


@dataclass(frozen=True)
class Size:
    """Numbers of a learner, each counted once, those of them that are trained, and the bytes they take."""

    parameters: int
    trained: int
    memory: Memory


def training_size(config: TrainConfig) -> Size:
    """Build learner, momentum encoder and optimizer on the meta device, where tensors have no numbers.

    The optimizer takes one step there, so its state is counted and not guessed.

    Raises:
        MmtkError: a part refuses to be built.
        NotImplementedError: a part looks at numbers while it is built.
    """
    with torch.device("meta"):
        model: Any = config.model.build()
        heads: dict[str, Any] = {name: head.build(model=model) for name, head in config.heads.items()}
        learner = Learner(model, heads)
        momentum: Any = None if config.momentum is None else config.momentum.build(model=model)
    objective = Objective(learner, config.precision)
    spread = plain(Workload(objective, momentum, [], config.optimizer.build(), torch.device("meta")))
    ensure_optimizer_state(spread)
    slots = [one for state in spread.optimizer.state.values() for one in state.values()]
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    slow = momentum or nn.Module()
    memory = Memory(
        weights=_bytes(learner.parameters()) + _bytes(learner.buffers()),
        gradients=_bytes(trained),
        optimizer=_bytes(one for one in slots if isinstance(one, Tensor)),
        average=_bytes(slow.parameters()),
        queue=_bytes(slow.buffers()),
    )
    return Size(sum(p.numel() for p in learner.parameters()), sum(p.numel() for p in trained), memory)


def learner_parameters(folder: Path, registry: Registry) -> int:
    """Count the numbers of the learner in a checkpoint, each once, without reading its weights.

    Raises CheckpointError when it can't be rebuilt, or only with its weights.
    """
    nodes = load_nodes(folder, registry)
    try:
        with torch.device("meta"):
            learner = build_learner(nodes, registry)
    except (NotImplementedError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{folder}: can't be counted without its weights: {reason}") from error
    return sum(parameter.numel() for parameter in learner.parameters())


def estimate_training(config: TrainConfig, context: EstimateContext) -> Iterator[str]:
    """Tell parameters and memory, steps, and time, each as far as it can be known now."""
    yield from _size_lines(config, context)
    if waiting := context.missing(config.data):
        most = f", {counted(config.max_steps, 'step')} at most" if config.max_steps is not None else ""
        yield f"steps and time: not known without {waiting}; {counted(config.epochs, 'epoch')} of it{most}"
        return
    try:
        data = TrainingData(config.data, seed=context.seed, world=context.ranks)
    except (MmtkError, OSError) as error:
        yield f"steps and time: not known: {error}"
        return
    course = Course(
        epochs=config.epochs,
        step_size=data.global_batch * config.accumulate,
        batches_left=data.batches_left,
        accumulate=config.accumulate,
        max_steps=config.max_steps,
    )
    yield (
        f"steps: {course.total_steps:,}; an epoch is {counted(len(data), 'sample')} in "
        f"{counted(course.steps_per_epoch, 'step')} of up to {course.step_size:,}"
    )
    yield _time_line(course, context)


def _size_lines(config: TrainConfig, context: EstimateContext) -> Iterator[str]:
    built_of = [config.model, *config.heads.values(), config.momentum, config.optimizer]
    if waiting := context.missing(built_of):
        yield f"parameters and memory: not known without {waiting}"
        return
    try:
        found = training_size(config)
    except (MmtkError, NotImplementedError, RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        yield f"parameters and memory: can't be counted without building the model: {reason}"
        return
    yield f"parameters: {found.parameters:,}, of which {found.trained:,} are trained"
    memory = found.memory
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "momentum encoder": memory.average,
        "its queue": memory.queue,
    }
    listed = ", ".join(f"{name} {size(bytes_)}" for name, bytes_ in parts.items() if bytes_)
    yield f"memory of a process that holds everything: {size(memory.total)} ({listed}), {NOT_INCLUDED}"


def _time_line(course: Course, context: EstimateContext) -> str:
    """Tell how long it takes at the speed that an earlier try of this stage was measured at."""
    measured = _measured(context.folder / TrainConfig.OUTPUTS["metrics"].path)
    if not measured:
        return "time: not known: there is no measured step of this stage in the run's folder"
    rate = statistics.median(speed for _step, speed in measured)
    behind = measured[-1][0] if context.goes_on else 0
    seconds = max(course.total_steps - behind, 0) * course.step_size / rate
    rest = f" for the steps after {behind:,}" if behind else ""
    source = "an earlier try" if context.goes_on else "an earlier try with other settings"
    return f"time: about {duration(seconds)}{rest}, at the {rate:.3g} samples a second of {source} here"


def _measured(metrics: Path) -> list[tuple[int, float]]:
    """Return the steps and speeds that a try has logged; lines that a crash cut off are left out."""
    found = []
    try:
        for line in metrics.read_text("utf-8").splitlines():
            figures = json.loads(line)
            if figures.get("samples_per_second", 0) > 0:
                found.append((int(figures["step"]), float(figures["samples_per_second"])))
    except (OSError, ValueError, KeyError, AttributeError):
        pass
    return found


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
