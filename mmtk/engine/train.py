"""The stage ``train``."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmtk.data.pipeline import TrainingData
from mmtk.engine.checkpoint import LearnerNodes, save_learner
from mmtk.engine.configs import TrainConfig
from mmtk.engine.figures import Window
from mmtk.engine.initialise import CheckpointWeights, take_over
from mmtk.engine.learner import Learner
from mmtk.engine.prior_warning import PriorWatch
from mmtk.engine.progress import Display, display
from mmtk.engine.resume import ResumeFolder
from mmtk.engine.trainer import Trainer, chance_losses
from mmtk.kinds import Logger, WeightSource
from mmtk.stages.context import StageContext
from mmtk.types import Batch, ComponentNode, stable_hash


class TrainStage:
    """Trains, and goes on where an interrupted try of the same stage had saved its state.

    Takes the fields of ``TrainConfig``. A learner's random weights depend on the run's seed alone, so two
    training stages of one model start from the same ones.
    """

    def __init__(self, **fields: Any) -> None:
        self._config = TrainConfig(**fields)

    def run(self, context: StageContext) -> None:
        """Train to the end and write the checkpoint, the metrics and the quarantine.

        Raises:
            StageError: a loss or a gradient is not finite.
            CheckpointError: ``init`` or the saved state can't be used.
            DataError: a source can't be opened.
        """
        data = TrainingData(self._config.data, seed=context.seed)
        job = self._set_up(data, context)
        context.say(_plan(job))
        saved = job.resume.load()
        if saved is not None:
            context.say(f"going on after step {saved.step} of {job.trainer.total_steps}")
            for entry in saved.quarantined:
                data.quarantine.add(entry)
        start = saved.step if saved is not None else 0
        with _loggers(self._config.loggers, context, start) as loggers:
            _train(job, start, loggers, context)

        heads = {name: _node(head) for name, head in self._config.heads.items()}
        outputs = {name: context.folder / output.path for name, output in self._config.OUTPUTS.items()}
        save_learner(
            job.trainer.learner, LearnerNodes(_node(self._config.model), heads), outputs["checkpoint"]
        )
        data.quarantine.write(outputs["quarantine"])
        job.resume.clear()
        if len(data.quarantine):
            listed = outputs["quarantine"].name
            context.say(f"{len(data.quarantine)} samples quarantined, see {listed}")

    def _set_up(self, data: TrainingData, context: StageContext) -> _Job:
        config = self._config
        torch.manual_seed(stable_hash(context.seed, "weights"))
        model: Any = config.model.build()
        heads: dict[str, Any] = {name: head.build(model=model) for name, head in config.heads.items()}
        learner = Learner(model, heads)
        for source, weights in _first_weights(config.init):
            context.say(f"from {source}: {take_over(learner, weights(learner), source)}")
        learner.to(context.device).train()
        modules: dict[str, nn.Module] = {"learner": learner}
        momentum: Any = None
        if config.momentum is not None:
            momentum = config.momentum.build(model=model)
            modules["momentum"] = momentum.to(context.device)
        optimizer = config.optimizer.build()(learner.named_parameters())
        steps_per_epoch = math.ceil(data.batches_per_epoch / config.accumulate)
        total_steps = config.epochs * steps_per_epoch
        trainer = Trainer(
            learner,
            momentum,
            optimizer,
            config.schedule.build(),
            seed=context.seed,
            steps_per_epoch=steps_per_epoch,
            total_steps=total_steps if config.max_steps is None else min(total_steps, config.max_steps),
            clip_norm=config.clip_norm,
        )
        resume = ResumeFolder(context.folder / "resume", modules, optimizer)
        return _Job(
            trainer, data, resume, config.accumulate, config.log_every, config.save_every, context.device
        )


def _first_weights(init: Any) -> Iterator[tuple[str, WeightSource]]:
    """Yield the sources of first weights, each with its name for messages, in the order they are applied."""
    if isinstance(init, Path):
        yield str(init), CheckpointWeights(path=init)
    elif init is not None:
        for blueprint in init if isinstance(init, list | tuple) else [init]:
            keys = _node(blueprint).keys
            named = next((str(keys[key]) for key in ("path", "name") if keys.get(key) is not None), "")
            yield f"{_node(blueprint).use} {named}".strip(), blueprint.build()


@dataclass(frozen=True)
class _Job:
    trainer: Trainer
    data: TrainingData
    resume: ResumeFolder
    accumulate: int
    log_every: int
    save_every: int | None
    device: str

    def saves_after(self, step: int) -> bool:
        at_epoch_end = step % self.trainer.steps_per_epoch == 0
        return at_epoch_end or (self.save_every is not None and step % self.save_every == 0)


def _plan(job: _Job) -> str:
    """Say how much there is to train, and on how much."""
    parameters = sum(p.numel() for p in job.trainer.learner.parameters() if p.requires_grad)
    steps, per_epoch = job.trainer.total_steps, job.trainer.steps_per_epoch
    left_over = len(job.data) - job.data.batches_per_epoch * job.data.global_batch
    rest = f" ({left_over} left over)" if left_over > 0 else ""
    batches, last = job.data.batches_per_epoch, job.data.batches_per_epoch % job.accumulate
    short = f", the last one of {last}" if last else ""
    each = f", {batches:,} batches by {job.accumulate} a step{short}" if job.accumulate > 1 else ""
    return (
        f"{parameters:,} parameters, {steps:,} steps: an epoch is {len(job.data):,} samples{rest} "
        f"in {per_epoch:,} steps{each}"
    )


def _train(job: _Job, start: int, loggers: list[Logger], context: StageContext) -> None:
    """Do the steps after ``start``, with figures logged and the state saved on the way."""
    trainer, window = job.trainer, Window()
    watch = PriorWatch(chance_losses(trainer.learner.heads), trainer.steps_per_epoch)
    with display(context.name, trainer.total_steps, start, context.say) as shown:
        for step, batches, waited in _batches(job, start):
            figures = trainer.step([batch.to(job.device) for batch in batches], step)
            window.add(figures, sum(map(len, batches)), waited)
            done = step + 1
            figures["epoch"] = done / trainer.steps_per_epoch
            shown.update(done, figures)
            _warn(watch, figures, shown)
            saves = job.saves_after(done)
            # A saved state starts a new window, so that a resumed run logs the same means.
            if saves or done % job.log_every == 0 or done == trainer.total_steps:
                means = window.close() | {"epoch": figures["epoch"], "lr": figures["lr"]}
                for logger in loggers:
                    logger.log(done, means)
            if saves:
                job.resume.save(done, job.data.quarantine.entries)


def _warn(watch: PriorWatch, figures: Mapping[str, float], shown: Display) -> None:
    prefix = "loss/"
    losses = {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}
    for warning in watch.observe(losses):
        shown.say(warning)


def _batches(job: _Job, start: int) -> Iterator[tuple[int, list[Batch], float]]:
    """Yield the steps from ``start`` on, each with its batches and the seconds they were waited for.

    The batches that are too few for a full last step of an epoch make a shorter one.
    """
    step = start
    while step < job.trainer.total_steps:
        epoch, offset = divmod(step, job.trainer.steps_per_epoch)
        data = job.data.epoch(epoch, offset * job.accumulate * job.data.global_batch)
        with contextlib.closing(data) as batches:  # type: ignore[type-var]
            asked = time.perf_counter()
            while gathered := list(itertools.islice(batches, job.accumulate)):
                yield step, gathered, time.perf_counter() - asked
                step += 1
                if step == job.trainer.total_steps:
                    return
                asked = time.perf_counter()


@contextlib.contextmanager
def _loggers(blueprints: Mapping[str, Any], context: StageContext, start: int) -> Iterator[list[Logger]]:
    """Build the loggers, rewind them to step ``start`` where they can be, and close them at the end."""
    with contextlib.ExitStack() as stack:
        built: list[Logger] = []
        for blueprint in blueprints.values():
            logger = blueprint.build(folder=context.folder)
            stack.callback(logger.close)
            if hasattr(logger, "rewind"):
                logger.rewind(start)
            built.append(logger)
        yield built


def _node(blueprint: Any) -> ComponentNode:
    """The checked node a blueprint builds, as a checkpoint keeps it."""
    node: ComponentNode = blueprint.node
    return node
