"""The section ``loss_curves``: losses over optimizer steps, one small chart per figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from mmtk.report import charts
from mmtk.report.jsonl import read_lines
from mmtk.report.templating import render
from mmtk.report.wording import figure

TOTAL = "loss"
_MOST_POINTS = 250  # more can't be told apart at the width of a phone
_WINDOW_SHARE = 0.05


class Curve(NamedTuple):
    """A figure over the steps of one run: equally long, in ascending order of the steps."""

    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class _Chart:
    caption: str
    svg: Markup


class LossCurves:
    """Total loss and the loss of each head, raw (faint) and smoothed, with the runs over each other."""

    def __init__(self, *, runs: Mapping[str, Path], title: str, references: Mapping[str, float]) -> None:
        self.title = title
        self._curves = {name: read_curves(path) for name, path in runs.items()}
        self._references = references

    def html(self) -> str:
        names = dict.fromkeys(name for curves in self._curves.values() for name in curves)
        ordered = sorted(names, key=lambda name: (name != TOTAL, list(names).index(name)))
        return render(
            "mmtk.report",
            "loss_curves.html",
            legend=[(name, charts.series_variable(slot)) for slot, name in enumerate(self._curves)],
            empty=[name for name, curves in self._curves.items() if not curves],
            charts=[self._chart(name) for name in ordered],
        )

    def _chart(self, name: str) -> _Chart:
        drawing, axes = charts.new_chart()
        spoken = []
        highest = -math.inf
        for slot, (run, curves) in enumerate(self._curves.items()):
            if name not in curves:
                continue
            raw = thinned(curves[name])
            calm = smoothed(raw.values)
            colour = charts.series_colour(slot)
            axes.plot(raw.steps, raw.values, color=colour, linewidth=0.8, alpha=0.3)
            axes.plot(raw.steps, calm, color=colour, linewidth=2.0, solid_capstyle="round")
            highest = max(highest, *calm)
            spoken.append(f"{run} from {figure(calm[0])} to {figure(calm[-1])}")
        reference = self._references.get(name)
        if reference is not None:
            axes.axhline(reference, color=charts.MUTED, linewidth=1.2, dashes=(4, 3))
            highest = max(highest, reference)
        lowest = axes.get_ylim()[0]
        axes.set_ylim(lowest, max(highest + 0.06 * (highest - lowest), lowest + 1e-6))
        axes.margins(x=0.01)
        charts.whole_numbers(axes.xaxis)
        charts.label_axes(axes, "step")
        caption = chart_title(name)
        if reference is not None:
            caption += f" (dashed: {figure(reference, places=4)})"
        return _Chart(caption, charts.to_svg(drawing, f"{caption}, smoothed: {'; '.join(spoken)}."))


def chart_title(name: str) -> str:
    """Return the title of a figure's chart: ``loss/itm`` gives ``ITM loss``."""
    if name == TOTAL:
        return "Total loss"
    head = name.removeprefix(f"{TOTAL}/")
    return f"{head.upper() if len(head) <= 3 else head} loss"


def read_curves(path: Path) -> dict[str, Curve]:
    """Return the losses (``loss`` and ``loss/…``) in a ``metrics.jsonl``, by name, in the file's order.

    A step that was logged twice, because the run was resumed, counts as logged last. Values that aren't
    finite are left out. Raises DataError for lines that aren't JSON.
    """
    figures: dict[str, dict[int, float]] = {}
    for line in read_lines(path):
        step = line.get("step")
        if not isinstance(step, int):
            continue
        for name, value in line.items():
            if (name == TOTAL or name.startswith(f"{TOTAL}/")) and isinstance(value, int | float):
                figures.setdefault(name, {})[step] = float(value)
    curves = {}
    for name, by_step in figures.items():
        steps = [step for step in sorted(by_step) if math.isfinite(by_step[step])]
        if steps:
            curves[name] = Curve(steps, [by_step[step] for step in steps])
    return curves


def thinned(curve: Curve, most: int = _MOST_POINTS) -> Curve:
    """Return at most ``most`` points: neighbours are averaged, and stand at their last step."""
    length = len(curve.steps)
    if length <= most:
        return curve
    edges = [index * length // most for index in range(most + 1)]
    spans = list(pairwise(edges))
    return Curve(
        [curve.steps[end - 1] for _, end in spans],
        [sum(curve.values[start:end]) / (end - start) for start, end in spans],
    )


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the centred moving average over about a twentieth of the values, over fewer near the ends.

    Its window is as wide to the left as to the right, so that it doesn't lag behind a falling loss.
    """
    length = len(values)
    sums = list(accumulate(values, initial=0.0))
    result = []
    for place in range(length):
        reach = min(max(1, round(_WINDOW_SHARE * length / 2)), place, length - 1 - place)
        result.append((sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1))
    return result
