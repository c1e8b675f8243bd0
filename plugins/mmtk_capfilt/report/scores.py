"""The section ``capfilt_scores``: how probable the filter found it that image and text match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from mmtk.api import charts, count, counted, render, share
from mmtk_capfilt.ledger import ITM, SYNTHETIC, WEB, read_ledger

BINS = 25
SOURCES = {WEB: "Web texts", SYNTHETIC: "Synthetic texts"}


@dataclass(frozen=True)
class _Chart:
    caption: str
    note: str
    svg: Markup


class ScoresSection:
    """One histogram per source, with the filter's threshold for it."""

    def __init__(self, *, ledger: Path, title: str) -> None:
        self.title = title
        self._ledger = read_ledger(ledger)

    def html(self) -> str:
        by_source = {source: scores_of(self._ledger, source) for source in SOURCES}
        highest = max((histogram(scores).max() for scores in by_source.values()), default=0)
        return render(
            "mmtk_capfilt.report",
            "scores.html",
            charts=[
                self._chart(source, scores, threshold_of(self._ledger, source), int(highest))
                for source, scores in by_source.items()
                if len(scores)
            ],
        )

    def _chart(self, source: str, scores: np.ndarray, threshold: float | None, highest: int) -> _Chart:
        drawing, axes = charts.new_chart()
        colour = charts.series_colour(list(SOURCES).index(source))
        numbers, edges = histogram(scores), np.linspace(0, 1, BINS + 1)
        dropped = edges[1:] <= (0 if threshold is None else threshold) + 1e-9
        for mask, alpha in ((dropped, 0.35), (~dropped, 1.0)):
            axes.bar(
                edges[:-1][mask], numbers[mask], width=0.88 / BINS, align="edge", color=colour, alpha=alpha
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, highest * 1.08)
        charts.whole_numbers(axes.yaxis)
        charts.label_axes(axes, "ITM probability", "texts")
        below = 0
        if threshold is not None:
            axes.axvline(threshold, color=charts.INK, linewidth=1.4, dashes=(4, 3))
            below = int((scores < threshold).sum())
        note = f"median {np.median(scores):.2f}"
        if threshold is not None:
            note = f"{share(below, len(scores))} below the threshold {threshold:g}, {note}"
        number = counted(len(scores), "ITM probability", "ITM probabilities")
        spoken = f"{SOURCES[source]}: histogram of {number}, {note}."
        return _Chart(f"{SOURCES[source]} ({count(len(scores))})", note, charts.to_svg(drawing, spoken))


def scores_of(ledger: pa.Table, source: str) -> np.ndarray:
    """Return the ITM probabilities ``(T,)`` float32 of a source's texts, those without a score left out."""
    rows = ledger.filter(pc.equal(ledger["source"], source))
    return rows["itm_probability"].drop_null().to_numpy()


def histogram(scores: np.ndarray) -> np.ndarray:
    """Return how many scores ``(T,)`` fall into each of the equal bins of [0, 1], ``(BINS,)`` int64."""
    return np.histogram(scores, bins=BINS, range=(0, 1))[0]


def threshold_of(ledger: pa.Table, source: str, score: str = ITM) -> float | None:
    """Return the threshold that the reasons of a source's texts name; None if ``score`` dropped none."""
    rows = ledger.filter(pc.equal(ledger["source"], source))
    for reason in pc.unique(rows["reason"]).to_pylist():
        if match := re.fullmatch(rf"{re.escape(score)} below (-?[\d.]+(?:e-?\d+)?)", reason):
            return float(match[1])
    return None
