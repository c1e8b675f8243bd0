"""The hooks that a plugin can implement. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from mmtk.commands import Command
    from mmtk.events import (
        CheckpointSaved,
        EpochEnded,
        MetricsLogged,
        RunEnded,
        RunStarted,
        StageEnded,
        StageStarted,
        StepEnded,
    )
    from mmtk.kinds import ReportSection
    from mmtk.registry import Component

PROJECT_NAME = "mmtk"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def mmtk_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return the components that this plugin offers.

    Called once when plugins are listed, so the plugin's module must import no torch: a component
    names its factory and its config as import strings (``"package.module:attribute"``).
    """


@hookspec
def mmtk_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Return the commands that this plugin adds to the program ``mmtk``.

    A command names its module as an import string; it is imported when the command is called or its own
    ``--help`` is asked, and not before. A plugin whose command has the name of one of mmtk's own, or of
    another plugin's, is quarantined.
    """


@hookspec
def mmtk_recipe_defaults() -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Return keys of a recipe that hold where neither it nor what it extends has them, e.g. ``device``.

    They are laid under every recipe, and stand in the resolved one. Stages and definitions can't be given.
    """


@hookspec
def mmtk_report_sections(folder: Path) -> Iterable[ReportSection]:  # type: ignore[empty-body]
    """Return sections for the end of every report, about the run in ``folder``."""


@hookspec
def mmtk_run_started(event: RunStarted) -> None:
    """A run has begun. Events come on the first rank alone."""


@hookspec
def mmtk_run_ended(event: RunEnded) -> None:
    """A run has ended, whatever its outcome, but for a kill."""


@hookspec
def mmtk_stage_started(event: StageStarted) -> None:
    """A stage begins to work."""


@hookspec
def mmtk_stage_ended(event: StageEnded) -> None:
    """A stage has ended, whatever its outcome, but for a kill."""


@hookspec
def mmtk_step_ended(event: StepEnded) -> None:
    """A training step is done."""


@hookspec
def mmtk_epoch_ended(event: EpochEnded) -> None:
    """An epoch is done."""


@hookspec
def mmtk_metrics_logged(event: MetricsLogged) -> None:
    """Figures of training were logged."""


@hookspec
def mmtk_checkpoint_saved(event: CheckpointSaved) -> None:
    """A state was saved. With ``saving.background`` it may still be on its way to the disk."""
