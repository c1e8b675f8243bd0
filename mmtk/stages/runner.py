"""Run a checked recipe: each stage in its own folder, each one only if it must.

Of several ranks the first one decides, keeps the records and does the stages that are one process's work. The
others join in where a stage is the work of all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mmtk.blame import blamed
from mmtk.disk import FULL_DISK, cause_and_room
from mmtk.distributed.group import process_group
from mmtk.distributed.launcher import end_if_launcher_is_gone
from mmtk.distributed.ranks import Ranks
from mmtk.errors import MmtkError, StageError
from mmtk.events import RunEnded, RunStarted, StageEnded, StageStarted
from mmtk.printable import printable_lines
from mmtk.recipe.build import blueprint
from mmtk.recipe.run_folder import ENVIRONMENT, RESOLVED, resolved_text
from mmtk.stages.context import StageContext
from mmtk.stages.edited import edited
from mmtk.stages.environment import describe_environment, resolve_device, seed_everything
from mmtk.stages.foresight import import_fault, inputs_of, refusals
from mmtk.stages.graph import recipe_order
from mmtk.stages.interrupt import interruptible
from mmtk.stages.lock import run_lock
from mmtk.stages.plan import Action, decide, missing_outputs, move_aside
from mmtk.stages.record import StageRecord, Status, read_record, write_json, write_record, write_text
from mmtk.stages.reports import copy_report, report_names
from mmtk.stages.run_place import refuse_foreign
from mmtk.stages.wanted import WantedRecords
from mmtk.stages.wording import duration

if TYPE_CHECKING:
    from rich.console import Console

    from mmtk.kinds import Stage
    from mmtk.recipe import CheckedRecipe, CheckedStage
    from mmtk.registry import Registry


def run_recipe(checked: CheckedRecipe, registry: Registry, console: Console) -> None:
    """Run the recipe's stages in order, skipping those that are done.

    Raises:
        StageError: another process runs in the folder, it holds files of something else, or a stage failed or
            broke its promise.
        Interrupted: a signal ended the run; the stage's folder says so and the next run goes on from it.
        SilentExitError: another rank has failed, and says so.
    """
    with interruptible(), process_group(checked.device) as ranks:
        if ranks.leads:
            _lead(Run(checked, registry, console, ranks))
        else:
            _follow(checked, registry, ranks)


def _lead(run: Run) -> None:
    refuse_foreign(run.checked.run_dir)
    with run_lock(run.checked.run_dir) as dead:
        if dead:
            run.say(f"an earlier run was killed ({dead})")
        run.describe()
        run.refuse_early()
        with run.told():
            for number, name in enumerate(run.order, 1):
                run.heading(f"[{number}/{len(run.order)}] {name} ({run.checked.stages[name].node.use})")
                run.stage(run.checked.stages[name])
                run.ranks.tell(f"{name}/ended", True)
        run.finish()


def _follow(checked: CheckedRecipe, registry: Registry, ranks: Ranks) -> None:
    """Do as another rank what rank 0 says: each stage's part, or nothing."""
    for name in recipe_order(checked):
        if ranks.hear(f"{name}/for_all"):
            context = _context(checked, checked.stages[name], registry, ranks, lambda _text: None)
            try:
                built = _build(checked, checked.stages[name], registry)
                with _blamed(checked.stages[name], registry):
                    built.run(context)
            except MmtkError as error:
                raise _in_stage(name, error) from error
        ranks.hear(f"{name}/ended")


def _in_stage(name: str, error: MmtkError) -> StageError:
    """The error with the stage it came from."""
    named = StageError(f"stage '{name}': {error}")
    named.on_all_ranks = error.on_all_ranks
    return named


def _build(checked: CheckedRecipe, stage: CheckedStage, registry: Registry) -> Stage:
    """Build a stage with its inputs' paths."""
    built: Stage = blueprint(stage.node, registry, inputs_of(checked, stage)).build()
    return built


def _blamed(stage: CheckedStage, registry: Registry) -> contextlib.AbstractContextManager[None]:
    """What names the stage's plugin when its code fails within."""
    return blamed(registry.get("stage", stage.node.use).described, "ran")


def _context(
    checked: CheckedRecipe, stage: CheckedStage, registry: Registry, ranks: Ranks, say: Callable[[str], None]
) -> StageContext:
    device = resolve_device(checked.device)
    if ranks.size > 1 and device == "cuda":
        device = f"cuda:{ranks.local_rank}"
    seed_everything(checked.seed)
    folder = checked.run_dir.absolute() / stage.name
    return StageContext(stage.name, folder, checked.seed, device, registry, say, ranks.meet)


class Run:
    """One run of a recipe in its folder, as its first rank leads it."""

    def __init__(self, checked: CheckedRecipe, registry: Registry, console: Console, ranks: Ranks) -> None:
        self.checked = checked
        self.registry = registry
        self.console = console
        self.ranks = ranks
        self.folder = checked.run_dir.absolute()
        self.order = recipe_order(checked)
        self.wanted = WantedRecords(checked, registry)
        self.report_names = report_names(checked.stages)
        self.reports: list[Path] = []
        self.started = time.monotonic()
        self.listeners = registry.listeners
        self.listeners.say = self.say

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Tell plugins that the run begins, and how it ends."""
        started = RunStarted(self.checked.name, self.folder, tuple(self.order), self.folder / RESOLVED)
        self.listeners.tell(started)
        outcome = Status.FAILED
        try:
            yield
            outcome = Status.DONE
        except KeyboardInterrupt:
            outcome = Status.INTERRUPTED
            raise
        finally:
            seconds = time.monotonic() - self.started
            self.listeners.tell(RunEnded(self.checked.name, self.folder, outcome, seconds))

    def heading(self, text: str) -> None:
        self.show(text, style="bold")

    def say(self, text: str) -> None:
        self.show(f"  {text}")

    def show(self, text: str, style: str | None = None) -> None:
        """Print a message as it is, but for what in it would act on the terminal."""
        self.console.print(
            printable_lines(text), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    def describe(self) -> None:
        """Write down what this run is: its recipe with every default filled in."""
        write_text(self.folder / RESOLVED, resolved_text(self.checked))

    def refuse_early(self) -> None:
        """Raise StageError where a stage that will run lacks a factory, or its strategy can't do its work."""
        faults = refusals(self.checked, self.registry, self.ranks.size)
        for name, stage in self.checked.stages.items():
            if name not in faults and (fault := import_fault(stage, self.registry)):
                faults[name] = fault
        # Whether a stage will run takes a look at every file that it reads, so nobody asks without a fault.
        for name in self.order if faults else ():
            stage = self.checked.stages[name]
            decision = decide(self.folder / name, self.wanted.of(stage, now()), stage.outputs)
            if name in faults and decision.action is not Action.SKIP:
                raise StageError(f"stage '{name}': {faults[name]}")

    def stage(self, stage: CheckedStage) -> None:
        """Run one stage if it must run, and put its reports where the user looks for them."""
        folder = self.folder / stage.name
        wanted = self.wanted.of(stage, now())
        decision = decide(folder, wanted, stage.outputs)
        for reason in decision.reasons:
            self.say(reason)
        if decision.action is Action.SUPERSEDE:
            self.check_ready(stage)
            aside = move_aside(folder, self.folder).relative_to(self.folder)
            self.say(f"runs anew; what it had made lies in {self.checked.run_dir / aside}")
        if decision.action is Action.SKIP:
            self.ranks.tell(f"{stage.name}/for_all", False)
            self.say_what_is_edited(stage, folder)
        else:
            self.execute(stage, folder, wanted)
        for (name, output), target in self.report_names.items():
            if name == stage.name:
                self.reports.append(copy_report(folder / stage.outputs[output].path, self.folder / target))

    def say_what_is_edited(self, stage: CheckedStage, folder: Path) -> None:
        """Say how a stage that is skipped runs again where code behind it is newer than its result."""
        found = read_record(folder)
        for name in edited(stage.node, self.registry, found.started) if found and found.started else ():
            self.say(
                f"{name} has been edited since, without a new version: raise it, or delete "
                f"{self.checked.run_dir / stage.name}, and the stage runs again"
            )

    def check_ready(self, stage: CheckedStage) -> None:
        """Have the stage refuse what it would fail on at its start, while its earlier result is in place."""
        context = _context(self.checked, stage, self.registry, self.ranks, self.say)
        try:
            built = _build(self.checked, stage, self.registry)
            if hasattr(built, "check_ready"):
                with _blamed(stage, self.registry):
                    built.check_ready(context)
        except MmtkError as error:
            raise _in_stage(stage.name, error) from error

    def execute(self, stage: CheckedStage, folder: Path, wanted: StageRecord) -> None:
        """Run the stage, keeping its record true whatever happens."""
        folder.mkdir(parents=True, exist_ok=True)
        # Only now: a run that skips everything leaves word of the packages that made what is there.
        write_json(self.folder / ENVIRONMENT, describe_environment())
        started = time.monotonic()
        write_record(folder, wanted)
        self.listeners.tell(StageStarted(stage.name, stage.node.use, folder))
        try:
            self.call(stage, folder)
        except BaseException as error:
            end_if_launcher_is_gone()  # with which the other ranks may have ended first
            status = Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.FAILED
            saved = ", its state is saved" if getattr(error, "saved", False) else ""
            self.say(f"{status} after {duration(time.monotonic() - started)}{saved}")
            write_record(folder, dataclasses.replace(wanted, status=status, finished=now()))
            seconds = time.monotonic() - started
            self.listeners.tell(StageEnded(stage.name, folder, status, seconds, str(error)))
            if isinstance(error, MmtkError):
                raise _in_stage(stage.name, error) from error
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                room = cause_and_room(error, folder)
                raise StageError(f"stage '{stage.name}' can't write in {folder}: {room}") from error
            raise
        write_record(folder, dataclasses.replace(wanted, status=Status.DONE, finished=now()))
        seconds = time.monotonic() - started
        self.listeners.tell(StageEnded(stage.name, folder, Status.DONE, seconds))
        self.say(f"done in {duration(seconds)}")

    def call(self, stage: CheckedStage, folder: Path) -> None:
        """Build the stage, tell the other ranks whether they take part, run it, look at its outputs."""
        context = _context(self.checked, stage, self.registry, self.ranks, self.say)
        built = _build(self.checked, stage, self.registry)
        self.ranks.tell(f"{stage.name}/for_all", getattr(built, "every_rank", False))
        with _blamed(stage, self.registry):
            built.run(context)
        if missing := missing_outputs(folder, stage.outputs):
            raise StageError(f"ended without its declared output {', '.join(missing)}")

    def finish(self) -> None:
        self.heading(f"{self.checked.name}: all stages done in {duration(time.monotonic() - self.started)}")
        for report in self.reports:
            self.say(f"report: {report}")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
