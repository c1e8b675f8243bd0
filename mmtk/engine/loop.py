"""The steps of a training stage, with figures logged and the state saved on the way."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from mmtk.data.pipeline import TrainingData
from mmtk.distributed.collectives import agreed, gather_objects, mean_over_ranks, rank, world_size
from mmtk.engine.batches import step_batches
from mmtk.engine.configs import TrainConfig
from mmtk.engine.figures import Window
from mmtk.engine.nonfinite import NonFiniteLog
from mmtk.engine.prior_warning import PriorWatch
from mmtk.engine.progress import Display, display
from mmtk.engine.saved_states import Progress, SavedStates
from mmtk.engine.step_clock import StepClock, section
from mmtk.engine.step_trace import traced_steps
from mmtk.engine.trainer import NonFiniteStepError, Trainer, chance_losses
from mmtk.errors import StageError
from mmtk.events import CheckpointSaved, EpochEnded, MetricsLogged, StepEnded
from mmtk.registry import nearest
from mmtk.stages.context import StageContext
from mmtk.stages.interrupt import Interrupted, StopRequest, deferred_stop
from mmtk.types import Batch, Quarantined


@dataclass
class Job:
    """A training stage that is ready to run.

    Attributes:
        window: figures since the last logged line.
        since_save: figures since the last saved state.
        clock: where the time goes.
        best_is_known: whether ``saving.best_by`` has been looked for among the figures.
    """

    trainer: Trainer
    data: TrainingData
    states: SavedStates
    nonfinite: NonFiniteLog
    config: TrainConfig
    context: StageContext
    window: Window = field(default_factory=Window)
    since_save: Window = field(default_factory=Window)
    clock: StepClock = field(default_factory=StepClock)
    best_is_known: bool = False

    def go_on_from(self, saved: Progress) -> None:
        """Take over what a state holds beside tensors."""
        self.data.quarantine.add_all(saved.quarantined)
        self.data.load_state(saved.streams)
        self.window.load(saved.window)
        self.clock.load(saved.timing)
        self.trainer.loss_scale.load(saved.loss_scale)
        self.nonfinite.load(*saved.nonfinite, step=saved.step)

    def quarantined(self) -> list[Quarantined]:
        """What no rank could use. Every rank must call it."""
        everyones = gather_objects(self.data.quarantine.entries)
        return list(dict.fromkeys(entry for entries in everyones for entry in entries))

    def save(self, step: int) -> None:
        """Save the state after ``step`` steps. Every rank must call it.

        Raises StageError when the disk fails or, behind the first steps, there is no figure ``best_by``.
        """
        course, figure = self.trainer.course, self.config.saving.best_by
        means = self.since_save.close()
        self.states.save(
            Progress(
                step,
                place=course.place(step),
                origin=course.origin,
                ranks=world_size(),
                global_batch=self.data.global_batch,
                streams=gather_objects(self.data.state()),
                window=self.window.state(),
                timing=self.clock.state(),
                loss_scale=self.trainer.loss_scale.state(),
                nonfinite=(self.nonfinite.in_a_row, self.nonfinite.total),
                quarantined=tuple(self.quarantined()),
                best=None if figure is None else means.get(figure),
            )
        )
        if figure is not None and not self.best_is_known and "loss" in means:
            agreed(lambda: _check_best(figure, means))
            self.best_is_known = True

    def saves_after(self, step: int) -> bool:
        course, every = self.trainer.course, self.config.save_every
        if self.config.saving.best_by is not None and step == course.total_steps:
            return True  # the last steps may be the best ones
        return course.ends_epoch(step) or (every is not None and step % every == 0)


def _check_best(figure: str, means: Mapping[str, float]) -> None:
    if figure in means:
        return
    near = nearest(figure, means)
    hint = f"did you mean '{near}'? " if near else ""
    raise StageError(
        f"saving.best_by: there is no figure '{figure}'; {hint}there are: {', '.join(sorted(means))}"
    )


def run_steps(job: Job, start: int) -> None:
    """Do the steps after ``start``.

    Raises:
        StageError: a state can't be saved, or there is no figure ``saving.best_by``.
        Interrupted: a signal came to any rank; the step was finished and the state saved.
        NonFiniteStepError: too many steps in a row were not finite.
    """
    trainer, context = job.trainer, job.context
    watch = PriorWatch(chance_losses(trainer.learner.heads), trainer.course.steps_per_epoch)
    total = trainer.course.total_steps
    with (
        deferred_stop() as stop,
        contextlib.closing(job.states),  # the next run must not find this one writing
        display(context.name, total, start, context.say) as shown,
        job.clock,
        traced_steps(job.config.profile, context.folder, job.clock, context.registry.listeners, shown.say),
        contextlib.closing(step_batches(job.data, trainer.course, start)) as steps,
    ):
        for step, batches, waited in steps:
            done = step + 1
            figures = _step(job, batches, step, shown)
            if figures is not None:
                with section("logging"):
                    _note(job, figures, batches, waited)
                    shown.update(done, figures | _counts(job))
                    _warn(watch, figures, shown)
                _tell_step(job, done, figures)
            if done % job.config.log_every == 0 or done == total:
                with section("logging"):
                    _log(job, done)
            job.clock.step()
            stopped = _any_rank_stops(stop, context.device)
            if trainer.course.ends_epoch(done):
                _tell(job, EpochEnded(context.name, trainer.course.place(done).epoch, done))
            if stopped or job.saves_after(done):
                with section("saving"):
                    job.save(done)
                _tell(job, CheckpointSaved(context.name, context.folder, done))
            if stopped:
                job.states.wait()
                raise Interrupted(stopped, saved=True)
        with section("saving"):
            job.states.wait()


def _step(job: Job, batches: list[Batch], step: int, shown: Display) -> dict[str, float] | None:
    """Do one step; None where it was skipped."""
    with section("copy to device"):
        placed = [batch.to(job.context.device) for batch in batches]
    try:
        figures = job.trainer.step(placed, step)
    except NonFiniteStepError as skipped:
        shown.say(job.nonfinite.add(step, skipped))
        return None
    job.nonfinite.in_a_row = 0
    if not math.isfinite(figures["gradient_norm"]):
        return None  # float16 overflowed and the scale was lowered: nothing to average
    course = job.trainer.course
    return figures | {"epoch": course.scheduled(step + 1) / course.steps_per_epoch}


def _note(job: Job, figures: Mapping[str, float], batches: list[Batch], waited: float) -> None:
    samples = sum(map(len, batches))
    for window in (job.window, job.since_save):
        window.add(figures, samples, waited)


def _log(job: Job, step: int) -> None:
    """Tell loggers and plugins of the means since the last logged line."""
    course = job.trainer.course
    means = job.window.close() | {"epoch": course.scheduled(step) / course.steps_per_epoch}
    means["lr"] = job.trainer.optimizer.param_groups[0]["lr"]
    _tell(job, MetricsLogged(job.context.name, job.context.folder, step, means | _counts(job)))


def _tell_step(job: Job, step: int, figures: Mapping[str, float]) -> None:
    """Tell of a step in no section, so that the profiler ends the step and nothing else."""
    if job.context.registry.listeners.hears(StepEnded):
        _tell(job, StepEnded(job.context.name, step, figures))


def _tell(job: Job, event: object) -> None:
    """Let loggers, profiler and plugins know of an event, on the first rank."""
    if rank() == 0:
        job.context.registry.listeners.tell(event)


def _counts(job: Job) -> dict[str, float]:
    """What the stage has counted up to now, where there is any of it, and float16's factor on the loss."""
    scale = job.trainer.loss_scale
    counts = {
        "skipped_steps": job.nonfinite.total,
        "quarantined": len(job.data.quarantine),
        "overflows": scale.overflows,
    }
    found = {name: float(count) for name, count in counts.items() if count}
    return found | ({"loss_scale": scale.value} if scale.enabled else {})


def _any_rank_stops(stop: StopRequest, device: str) -> int | None:
    """The number of the signal that came to a rank, the same on all of them; None where none came."""
    number = stop.number or 0
    if world_size() > 1:
        highest = mean_over_ranks(torch.tensor(float(number), device=device))
        number = max(gather_objects(number)) if float(highest) > 0 else 0
    return number or None


def _warn(watch: PriorWatch, figures: Mapping[str, float], shown: Display) -> None:
    prefix = "loss/"
    losses = {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}
    for warning in watch.observe(losses):
        shown.say(warning)
