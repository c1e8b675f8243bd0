"""Puts the sections together to one HTML page that needs nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mmtk.kinds import ReportSection
from mmtk.report.history import StageTime
from mmtk.report.section import Headlined, Styled
from mmtk.report.templating import render


@dataclass(frozen=True)
class Making:
    """How the page came to be.

    Attributes:
        facts: label and value, such as the version and the seed.
        stages: the run's stages with their times, in the order they were run.
    """

    facts: Mapping[str, str]
    stages: Sequence[StageTime]

    @property
    def seconds(self) -> float:
        """Time that all stages took together."""
        return sum(stage.seconds or 0 for stage in self.stages)


@dataclass(frozen=True)
class _Part:
    anchor: str
    title: str
    html: Markup


def render_page(title: str, description: str, sections: Sequence[ReportSection], making: Making) -> str:
    """Return the whole page. ``title`` and ``description`` are plain text, as every section's title is."""
    headlines = [section.headline() for section in sections if isinstance(section, Headlined)]
    styles = dict.fromkeys(section.css() for section in sections if isinstance(section, Styled))
    anchors = _anchors(section.title for section in sections)
    parts = [
        _Part(anchor, section.title, Markup(section.html()))
        for anchor, section in zip(anchors, sections, strict=True)
    ]
    return render(
        "mmtk.report",
        "page.html",
        title=title,
        description=description,
        headlines=[line for line in headlines if line],
        styles=[Markup(style) for style in styles],
        parts=parts,
        making=making,
    )


def _anchors(titles: Iterable[str]) -> list[str]:
    anchors = ["content", "how-it-was-made"]  # the template's own
    for title in titles:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        anchor, copy = slug, 2
        while anchor in anchors:
            anchor, copy = f"{slug}-{copy}", copy + 1
        anchors.append(anchor)
    return anchors[2:]
