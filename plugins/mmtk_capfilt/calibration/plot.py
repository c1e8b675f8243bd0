"""A calibration as charts: a page that needs nothing from outside, or a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from mmtk.api import Making, charts, render, render_page
from mmtk_capfilt.calibration.figures import Calibration, ThresholdFigures

ENDINGS = (".html", ".png")
LINES = ("precision", "recall", "wrong_dropped", "kept")
NAMES = {
    "precision": "precision",
    "recall": "recall",
    "wrong_dropped": "wrong ones dropped",
    "kept": "share kept",
}


def write_plot(calibration: Calibration, path: Path) -> None:
    """Write ``path``, whose ending is one of ``ENDINGS``."""
    if path.suffix == ".png":
        _write_picture(calibration, path)
        return
    judged = calibration.judged
    title = f"Thresholds of {judged.score}"
    facts = {
        "Texts": f"{len(judged.right):,}",
        "Of them right": f"{int(judged.right.sum()):,}",
        "ROC AUC": f"{calibration.roc_auc:.3f}",
    }
    sections = {"calibration": CalibrationSection(calibration)}
    page = render_page(
        title, _said(calibration), sections, Making(facts, []), heading="Calibration of a filter"
    )
    path.write_text(page, encoding="utf-8")


class CalibrationSection:
    """The charts and the table of a calibration."""

    title = "What a threshold does"

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration

    def html(self) -> str:
        calibration = self._calibration
        chart, axes = charts.new_chart(520, 280)
        _draw_thresholds(axes, calibration)
        drawn = [("By threshold", charts.to_svg(chart, f"Lines over thresholds. {_said(calibration)}"))]
        if calibration.bins:
            chart, axes = charts.new_chart(280, 280)
            _draw_reliability(axes, calibration)
            drawn.append(("Probability and truth", charts.to_svg(chart, _reliability(calibration))))
        return render(
            "mmtk_capfilt.calibration",
            "calibration.html",
            charts=drawn,
            legend=[(NAMES[name], charts.series_variable(place)) for place, name in enumerate(LINES)],
            rows=shown_rows(calibration),
            proposed=calibration.proposal.figures,
            reliability=_reliability(calibration) if calibration.bins else "",
        )


def shown_rows(calibration: Calibration) -> list[ThresholdFigures]:
    """Every fifth threshold up to one that keeps nothing, and the proposed one."""
    proposed = calibration.proposal.figures
    rows = calibration.thresholds[::5]
    last = next((place for place, one in enumerate(rows) if not one.kept), len(rows))
    return [one for one in calibration.thresholds if one in rows[: last + 1] or one == proposed]


def _write_picture(calibration: Calibration, path: Path) -> None:
    figure, drawn = charts.new_charts(2 if calibration.bins else 1, 420, 300)
    _draw_thresholds(drawn[0], calibration)
    legend = drawn[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(LINES), frameon=False)
    for text in legend.get_texts():
        text.set_color(charts.INK)
    if calibration.bins:
        _draw_reliability(drawn[1], calibration)
    charts.write_png(figure, path)


def _draw_thresholds(axes: Axes, calibration: Calibration) -> None:
    rows = calibration.thresholds
    for place, name in enumerate(LINES):
        points = [(one.threshold, getattr(one, name)) for one in rows if getattr(one, name) is not None]
        axes.plot(
            *zip(*points, strict=True), color=charts.series_colour(place), linewidth=1.8, label=NAMES[name]
        )
    if calibration.proposal.figures:
        axes.axvline(calibration.proposal.figures.threshold, color=charts.INK, linewidth=1.2, dashes=(4, 3))
    axes.set_ylim(0, 1.03)
    charts.label_axes(axes, f"threshold of {calibration.judged.score}")


def _draw_reliability(axes: Axes, calibration: Calibration) -> None:
    axes.plot([0, 1], [0, 1], color=charts.MUTED, linewidth=1, dashes=(2, 3))
    expected = [one.expected for one in calibration.bins]
    observed = [one.observed for one in calibration.bins]
    axes.plot(expected, observed, color=charts.series_colour(0), linewidth=1.8, marker="o", markersize=4)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    charts.label_axes(axes, calibration.judged.score, "share right")


def _said(calibration: Calibration) -> str:
    figures = calibration.proposal.figures
    proposed = "None proposed" if figures is None else f"Proposed: {figures.threshold:g}"
    texts = f"{len(calibration.judged.right):,} {calibration.judged.what}"
    doubt = f" Take no threshold by this: {calibration.doubt}." if calibration.doubt else ""
    return f"{texts}. {proposed} ({calibration.proposal.reason}).{doubt}"


def _reliability(calibration: Calibration) -> str:
    return (
        "Each dot is a tenth of the scale: the mean probability of its texts, and the share of them that is "
        f"right. On the dotted line both are the same; they are {calibration.error:.3f} apart in the mean."
    )
