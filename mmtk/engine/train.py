"""The stage ``train``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mmtk.data.pipeline import TrainingData
from mmtk.distributed.collectives import rank, world_size
from mmtk.distributed.spread import Spread, Workload, whole_tensors
from mmtk.engine.checkpoint import LearnerNodes, TransformNodes, save_learner
from mmtk.engine.compiling import compile_layers
from mmtk.engine.configs import PrecisionConfig, TrainConfig
from mmtk.engine.estimate import estimate_training
from mmtk.engine.fed_loggers import fed_loggers
from mmtk.engine.initialise import CheckpointWeights, take_over
from mmtk.engine.learner import Learner
from mmtk.engine.loop import Job, run_steps
from mmtk.engine.loss_scale import LossScale
from mmtk.engine.nonfinite import NonFiniteLog
from mmtk.engine.objective import Objective
from mmtk.engine.position import Course, Origin
from mmtk.engine.saved_states import Progress, SavedStates
from mmtk.engine.step_clock import StepClock, stamps_for
from mmtk.engine.timing import table, write_timing
from mmtk.engine.trainer import Trainer
from mmtk.engine.training_state import learner_tensors
from mmtk.errors import StageError
from mmtk.kinds import WeightSource
from mmtk.report.wording import counted
from mmtk.stages.context import EstimateContext, StageContext
from mmtk.types import ComponentNode, stable_hash

BEST = "best"
_QUARANTINE_OF_RANK = ".quarantine-{}.jsonl"


class TrainStage:
    """Trains, and goes on where an interrupted try of the same stage had saved its state.

    Takes the fields of ``TrainConfig``. A learner's random weights depend on the run's seed alone, so two
    training stages of one model start from the same ones.
    """

    every_rank = True

    def __init__(self, **fields: Any) -> None:
        self._config = TrainConfig(**fields)

    def run(self, context: StageContext) -> None:
        """Train to the end and write the checkpoint, the metrics and the quarantine.

        Raises:
            StageError: losses or gradients are not finite; the strategy can't run here; a disk is full.
            CheckpointError: ``init`` or the saved state can't be used.
            DataError: a source can't be opened.
            Interrupted: a signal came; the state is saved.
        """
        pin = context.device.startswith("cuda")
        data = TrainingData(self._config.data, seed=context.seed, rank=rank(), world=world_size(), pin=pin)
        spread, momentum = self._spread(context)
        states = SavedStates(context.folder / "resume", spread, self._config.saving, context.say)
        saved = states.load()
        course = self._course(data, saved)
        trainer = self._trainer(spread, momentum, course, context.seed)
        job = Job(
            trainer,
            data,
            states,
            NonFiniteLog(context.folder, self._config.max_nonfinite),
            self._config,
            context,
            clock=StepClock(stamps_for(context.device)),
        )
        context.say(_plan(job))
        if saved is not None:
            context.say(_resumed(saved, job))
            job.go_on_from(saved)
        data.quarantine.follow(self._quarantine(context))
        start = saved.step if saved is not None else 0
        with fed_loggers(self._config.loggers, context, start):
            run_steps(job, start)
        _tell_timing(job)
        self._finish(job)

    def estimate(self, context: EstimateContext) -> Iterator[str]:
        """Tell what the training would take."""
        return estimate_training(self._config, context)

    def _finish(self, job: Job) -> None:
        context = job.context
        outputs = {name: context.folder / output.path for name, output in self._config.OUTPUTS.items()}
        with job.trainer.spread.tensors() as tensors:
            whole = whole_tensors(learner_tensors(tensors))
        quarantined = job.quarantined()
        job.states.wait()
        if rank() > 0:
            return
        heads = {name: _node(head) for name, head in self._config.heads.items()}
        nodes = LearnerNodes(_node(self._config.model), heads)
        data = self._config.data
        transforms = TransformNodes(_node(data.image_transform), _node(data.text_transform))
        if (best := job.states.best_learner()) is not None:
            save_learner(best, nodes, context.folder / BEST, transforms)
        save_learner(whole, nodes, outputs["checkpoint"], transforms)
        job.data.quarantine.add_all(quarantined)
        job.data.quarantine.write(outputs["quarantine"])
        for other in context.folder.glob(_QUARANTINE_OF_RANK.format("*")):
            other.unlink()
        job.states.clear()
        if quarantined:
            context.say(
                f"{counted(len(quarantined), 'sample')} quarantined, see {outputs['quarantine'].name}"
            )

    def _quarantine(self, context: StageContext) -> Path:
        """Where this rank notes at once what it can't use; at the end the first rank's file has all of it."""
        name = _QUARANTINE_OF_RANK.format(rank()) if rank() else self._config.OUTPUTS["quarantine"].path
        return context.folder / name

    def _spread(self, context: StageContext) -> tuple[Spread, Any]:
        """Build the learner and its momentum encoder and put them in their place."""
        config = self._config
        torch.manual_seed(stable_hash(context.seed, "weights"))
        model: Any = config.model.build()
        heads: dict[str, Any] = {name: head.build(model=model) for name, head in config.heads.items()}
        learner = Learner(model, heads)
        for source, weights in _first_weights(config.init):
            context.say(f"from {source}: {take_over(learner, weights(learner), source)}")
        learner.train()
        momentum: Any = None if config.momentum is None else config.momentum.build(model=model)
        layers = list(model.stacked_layers()) if hasattr(model, "stacked_layers") else []
        device = torch.device(context.device)
        if config.compile:
            if not layers:
                raise StageError("compile: this model doesn't name its layers")
            compile_layers(layers, device)
        if config.activation_checkpointing is not None:
            if not layers:
                raise StageError("activation_checkpointing: this model doesn't name its layers")
            config.activation_checkpointing.build()(layers)
        _set_tf32(config.precision)
        described = {
            name: getattr(head, "described", f"head '{name}'") for name, head in config.heads.items()
        }
        objective = Objective(learner, config.precision, described)
        workload = Workload(objective, momentum, layers, config.optimizer.build(), device)
        return config.strategy.build()(workload), momentum

    def _course(self, data: TrainingData, saved: Progress | None) -> Course:
        origin = Origin()
        if saved is not None:
            same = saved.global_batch == data.global_batch
            origin = saved.origin if same else Origin(saved.step, *saved.place)
        return Course(
            epochs=self._config.epochs,
            step_size=data.global_batch * self._config.accumulate,
            batches_left=data.batches_left,
            accumulate=self._config.accumulate,
            max_steps=self._config.max_steps,
            origin=origin,
        )

    def _trainer(self, spread: Spread, momentum: Any, course: Course, seed: int) -> Trainer:
        return Trainer(
            spread,
            momentum,
            self._config.schedule.build(),
            seed=seed,
            course=course,
            clip_norm=self._config.clip_norm,
            loss_scale=LossScale(self._config.precision.autocast == "float16"),
        )


def _set_tf32(precision: PrecisionConfig) -> None:
    torch.set_float32_matmul_precision("high" if precision.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = precision.tf32


def _first_weights(init: Any) -> Iterator[tuple[str, WeightSource]]:
    """Yield the sources of first weights, each with its name for messages, in the order they are applied."""
    if isinstance(init, Path):
        yield str(init), CheckpointWeights(path=init)
    elif init is not None:
        for blueprint in init if isinstance(init, list | tuple) else [init]:
            keys = _node(blueprint).keys
            named = next((str(keys[key]) for key in ("path", "name") if keys.get(key) is not None), "")
            yield f"{_node(blueprint).use} {named}".strip(), blueprint.build()


def _plan(job: Job) -> str:
    """Say how much there is to train, and on how much."""
    course, data = job.trainer.course, job.data
    parameters = sum(p.numel() for p in job.trainer.spread.parameters)
    left_over = len(data) - data.batches_per_epoch * data.global_batch
    rest = f" ({left_over} left over)" if left_over > 0 else ""
    batches, last = data.batches_per_epoch, data.batches_per_epoch % course.accumulate
    short = f", the last one of {last}" if last else ""
    several = counted(batches, "batch", "batches")
    each = f", {several} by {course.accumulate} a step{short}" if course.accumulate > 1 else ""
    ranks = f" on {counted(world_size(), 'rank')}" if world_size() > 1 else ""
    return (
        f"{counted(parameters, 'parameter')}, {counted(course.total_steps, 'step')}{ranks}: an epoch is "
        f"{counted(len(data), 'sample')}{rest} in {counted(course.steps_per_epoch, 'step')}{each}"
    )


def _resumed(saved: Progress, job: Job) -> str:
    """Say where training goes on and, on another number of ranks, what that changes."""
    course = job.trainer.course
    line = f"going on after step {saved.step} of {course.total_steps}"
    if saved.ranks == world_size():
        return line
    return (
        f"{line}, on {counted(world_size(), 'rank')} instead of {saved.ranks}: a batch is now "
        f"{counted(job.data.global_batch, 'sample')} instead of {saved.global_batch}, an epoch "
        f"{counted(course.steps_per_epoch, 'step')}; the rate follows the epochs, no sample comes twice "
        "or is left out, and dropout and negatives are drawn otherwise"
    )


def _tell_timing(job: Job) -> None:
    """Say where rank 0's time went, and write it down."""
    if rank() > 0:
        return
    timing = job.clock.finish()
    write_timing(job.context.folder, timing)
    for line in table(timing):
        job.context.say(line)


def _node(blueprint: Any) -> ComponentNode:
    """The checked node a blueprint builds, as a checkpoint keeps it."""
    node: ComponentNode = blueprint.node
    return node
