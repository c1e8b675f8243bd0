"""Puts the sections together to one HTML page that needs nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from markupsafe import Markup

from mmtk.kinds import ReportSection
from mmtk.report.embed import embedded_json, embedded_script, policy
from mmtk.report.history import StageTime
from mmtk.report.section import Headlined, Informed, Scripted, Styled
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
    files: str
    data: Markup | None


def render_page(
    title: str,
    description: str,
    sections: Mapping[str, ReportSection],
    making: Making,
    files: Mapping[str, str] = MappingProxyType({}),
    heading: str = "Report of a run",
) -> str:
    """Return the whole page. ``title`` and ``description`` are plain text, as every section's title is.

    ``sections`` are named by their anchors; ``files`` has the folders' addresses of those that have files.
    ``heading`` stands above the title and says what sort of page it is.
    """
    shown = list(sections.values())
    headlines = [section.headline() for section in shown if isinstance(section, Headlined)]
    styles = dict.fromkeys(section.css() for section in shown if isinstance(section, Styled))
    scripts = dict.fromkeys(embedded_script(one.script()) for one in shown if isinstance(one, Scripted))
    return render(
        "mmtk.report",
        "page.html",
        title=title,
        description=description,
        heading=heading,
        headlines=[line for line in headlines if line],
        styles=[Markup(style) for style in styles],
        parts=[_part(anchor, section, files.get(anchor, "")) for anchor, section in sections.items()],
        making=making,
        scripts=list(scripts),
        policy=policy(list(scripts), bool(files)),
    )


def _part(anchor: str, section: ReportSection, files: str) -> _Part:
    data = embedded_json(section.data()) if isinstance(section, Informed) else None
    return _Part(anchor, section.title, Markup(section.html()), files, data)


def anchored(sections: Iterable[ReportSection]) -> dict[str, ReportSection]:
    """Name sections, in their order, by the ids that they have on the page."""
    taken = {"content", "how-it-was-made"}  # the template's own
    named: dict[str, ReportSection] = {}
    for section in sections:
        slug = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        anchor, copy = slug, 2
        while anchor in taken or anchor in named:
            anchor, copy = f"{slug}-{copy}", copy + 1
        named[anchor] = section
    return named
