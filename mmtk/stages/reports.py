"""Puts a stage's reports into the run's folder, where the user looks for them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmtk.recipe import CheckedStage

REPORT = "report"
FILES = "report_files"


def report_names(stages: Mapping[str, CheckedStage]) -> dict[tuple[str, str], str]:
    """Name the copy of each output of the artifact type ``report``, by stage and output.

    It keeps the output's own name; where several stages share one, the stage's name goes in front.
    """
    paths = {
        (stage.name, name): Path(output.path)
        for stage in stages.values()
        for name, output in stage.outputs.items()
        if output.artifact == REPORT
    }
    shared = Counter(path.name for path in paths.values())
    return {
        (stage, output): path.name if shared[path.name] == 1 else f"{stage}-{path.name}"
        for (stage, output), path in paths.items()
    }


def copy_report(report: Path, target: Path) -> Path:
    """Copy a report; a crash leaves either the old copy or the new one.

    What the page has beside it in ``report_files/STAGE`` comes along, as links to the same files where the
    disk can do that.
    """
    stage = Path(FILES) / report.parent.name
    shutil.rmtree(target.parent / stage, ignore_errors=True)
    if (report.parent / stage).is_dir():
        shutil.copytree(report.parent / stage, target.parent / stage, copy_function=_link)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(report, temporary)
    return temporary.replace(target)


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
