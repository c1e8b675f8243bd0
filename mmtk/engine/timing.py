"""The table that says where a training stage's time went, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmtk.engine.step_clock import REST
from mmtk.report.wording import counted

TIMING = "timing.json"
_DATA_WAIT = "data wait"
# Sections by their first words; others come before the rest, in the order they were met.
_ORDER = (
    _DATA_WAIT,
    "copy to device",
    "forward/shared ",
    "forward",
    "backward",
    "gradient norm",
    "optimizer",
    "momentum",
    "saving",
    "logging",
)


class Row(NamedTuple):
    """A section: its seconds in all steps and its share of the whole."""

    name: str
    seconds: float
    share: float


def rows(seconds: Mapping[str, float]) -> list[Row]:
    """Return the sections in a step's order, the wait for data first; shares add up to 1."""
    whole = sum(seconds.values())
    ordered = sorted(seconds, key=_place)
    return [Row(name, seconds[name], seconds[name] / whole if whole else 0.0) for name in ordered]


def write_timing(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``timing.json``: steps, seconds, and each section's seconds, seconds a step and share."""
    steps, seconds = state["steps"], state["seconds"]
    sections = [
        {
            "name": row.name,
            "seconds": row.seconds,
            "seconds_per_step": row.seconds / max(steps, 1),
            "share": row.share,
        }
        for row in rows(seconds)
    ]
    report = {"steps": steps, "seconds": sum(seconds.values()), "sections": sections}
    (folder / TIMING).write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def table(state: Mapping[str, Any]) -> list[str]:
    """Return a clock's ``state`` as lines of text; their percentages add up to 100."""
    steps, seconds = max(state["steps"], 1), state["seconds"]
    found = rows(seconds)
    width = max((len(row.name) for row in found), default=0)
    mean = f"{sum(seconds.values()) / steps * 1000:,.1f} ms a step"
    lines = [f"time by section, {mean} over {counted(steps, 'step')}:"]
    for row, percent in zip(found, _percentages([row.share for row in found]), strict=True):
        lines.append(f"  {row.name:<{width}}  {percent:5.1f} %  {row.seconds / steps * 1000:10,.2f} ms")
    return lines


def _place(name: str) -> int:
    if name == REST:
        return len(_ORDER) + 1
    return next((place for place, start in enumerate(_ORDER) if name.startswith(start)), len(_ORDER))


def _percentages(shares: Sequence[float]) -> list[float]:
    """Round shares of a whole to tenths of a percent that add up to it: the greatest remainders go up."""
    tenths = [share * 1000 for share in shares]
    rounded = [int(share) for share in tenths]
    short = round(sum(tenths)) - sum(rounded)
    by_remainder = sorted(range(len(tenths)), key=lambda index: rounded[index] - tenths[index])
    for index in by_remainder[:short]:
        rounded[index] += 1
    return [share / 10 for share in rounded]
