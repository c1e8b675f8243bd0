"""Configs of the report stage and of the sections that fit every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from mmtk.config import Input, Range, Slot
from mmtk.kinds import Blueprint, ReportSection
from mmtk.stages.context import Output


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Writes one self-contained HTML page about the run."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {"report": Output("report", "report.html")}

    sections: Annotated[list[Blueprint[ReportSection]], Slot("report_section")]
    """The parts of the page, from top to bottom."""
    title: str = ""
    """Heading of the page; empty: the name of the run's folder."""
    description: str = ""
    """What the run is about, in a sentence or two below the heading."""


@dataclass(frozen=True, kw_only=True)
class LossCurvesConfig:
    """Draws the losses of one or several training stages: the total and one chart per head."""

    runs: Mapping[str, Annotated[Path, Input("metrics", "file")]]
    """Name to show and the ``metrics.jsonl`` of a training stage."""
    title: str = "Training curves"
    """Heading of the section."""
    references: Mapping[str, float] = field(default_factory=dict)
    """Dashed lines: figure (such as ``loss/itm``) and the value to compare it with, such as chance."""


@dataclass(frozen=True, kw_only=True)
class MetricTableConfig:
    """Puts evaluations below each other; every row after the first shows its difference to the first."""

    rows: Mapping[str, Annotated[Path, Input("evaluation", "file")]]
    """Name to show and the metrics file (JSON) of an evaluation. The first is the others' baseline."""
    title: str = "Results"
    """Heading of the section."""
    description: str = ""
    """A sentence above the table, such as which data the figures were measured on."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Columns: name in the file and label to show, made from the name when empty. Empty: all metrics."""
    lower_is_better: list[str] = field(default_factory=list)
    """Names of metrics where a smaller value is the better one."""


@dataclass(frozen=True, kw_only=True)
class QuarantineConfig:
    """Lists the samples that could not be used, by reason."""

    files: Mapping[str, Annotated[Path, Input("quarantine", "file")]]
    """Name to show and the quarantine file (JSON lines) of a stage."""
    title: str = "Samples set aside"
    """Heading of the section."""
    first: Annotated[int, Range(0, 1000)] = 20
    """How many samples of each file are listed one by one."""
