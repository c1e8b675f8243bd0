"""The stage ``report``."""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from mmtk.errors import MmtkError, StageError
from mmtk.kinds import Blueprint, ReportSection
from mmtk.report.beside import write_files
from mmtk.report.configs import ReportConfig
from mmtk.report.history import stage_times
from mmtk.report.made import made, sections_of
from mmtk.report.page import Making, anchored, render_page
from mmtk.stages.context import StageContext


class ReportStage:
    """Builds the sections and writes ``report.html``, and beside it what sections want in files of their own.

    Without such sections it is one file that needs nothing beside it.
    """

    def __init__(
        self, *, sections: Sequence[Blueprint[ReportSection]], title: str = "", description: str = ""
    ) -> None:
        self._sections = sections
        self._title = title
        self._description = description

    def run(self, context: StageContext) -> None:
        """Write the page. Raises StageError with the section's place when one of them can't be made."""
        sections = [_built(place, blueprint, context) for place, blueprint in enumerate(self._sections, 1)]
        sections += _of_plugins(context)
        named = anchored(sections)
        files = write_files(context.folder, context.name, named)
        run_folder = context.folder.parent
        page = render_page(
            self._title or run_folder.name,
            self._description,
            named,
            Making(_facts(context), stage_times(run_folder, without=context.folder.name)),
            files,
        )
        path = context.folder / ReportConfig.OUTPUTS["report"].path
        temporary = path.with_suffix(".partial")
        temporary.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
        temporary.replace(path)
        context.say(f"report: {len(sections)} sections, {path.stat().st_size / 1e6:.1f} MB")


def _of_plugins(context: StageContext) -> list[ReportSection]:
    """The sections that plugins add to every report, behind those of the recipe, without those that fail."""
    listeners = context.registry.listeners
    kept: list[ReportSection] = []

    def keep(section: ReportSection) -> None:
        kept.append(made(section))

    for who, sections in listeners.ask("mmtk_report_sections", sections_of, folder=context.folder.parent):
        for section in sections:
            what = "in a section of its hook mmtk_report_sections, which is left out"
            listeners.attempt(who, what, functools.partial(keep, section))
    return kept


def _built(place: int, blueprint: Blueprint[ReportSection], context: StageContext) -> ReportSection:
    try:
        return blueprint.build(device=context.device, registry=context.registry)
    except MmtkError as error:
        raise StageError(f"section {place} of the report can't be made: {error}") from error


def _facts(context: StageContext) -> dict[str, str]:
    return {
        "mmtk": _version("mmtk"),
        "PyTorch": _version("torch"),
        "Python": platform.python_version(),
        "Seed": str(context.seed),
        "Device": context.device,
        "Written": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed as a package"
