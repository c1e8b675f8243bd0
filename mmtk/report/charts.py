"""Charts as inline SVG whose colours follow the page's light or dark scheme.

Matplotlib draws with placeholder colours; in the SVG they become ``currentColor`` and the page's CSS
variables, so one chart serves both schemes. Text stays text, in the page's own font.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any, Final

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import is_color_like, to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmtk.report.wording import count

INK: Final = "#0a0b01"
MUTED: Final = "#0a0b02"
GRID: Final = "#0a0b03"
SERIES: Final = tuple(f"#0a0c{slot:02x}" for slot in range(1, 7))

_VARIABLES = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--line)"} | {
    colour: f"var(--series-{slot})" for slot, colour in enumerate(SERIES, 1)
}
_LIGHT = {INK: "#1d2229", MUTED: "#59626d", GRID: "#dcdcd6"} | dict(
    zip(SERIES, ("#0a6ba8", "#c2560a", "#0b7d63", "#9c4a86", "#7b6a00", "#5f5bb5"), strict=True)
)  # the light scheme of page.css
_UNITS_PER_INCH = 72  # the SVG backend's user units
_FONT_SIZE = 12.0
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": _FONT_SIZE,
    "axes.labelsize": _FONT_SIZE,
    "xtick.labelsize": _FONT_SIZE,
    "ytick.labelsize": _FONT_SIZE,
    "axes.unicode_minus": True,
    "path.simplify": False,
}


def series_colour(index: int) -> str:
    """Return the placeholder colour of the ``index``-th series, starting again after the last."""
    return SERIES[index % len(SERIES)]


def series_variable(index: int) -> str:
    """Return the CSS value of the ``index``-th series, for a legend in HTML."""
    return _VARIABLES[series_colour(index)]


def new_chart(width: int = 360, height: int = 220) -> tuple[Figure, Axes]:
    """Return an empty chart of ``width`` by ``height`` SVG units, about the pixels of a phone's screen."""
    figure, (axes,) = new_charts(1, width, height)
    return figure, axes


def new_charts(count: int, width: int = 360, height: int = 220) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``count`` empty charts side by side, each of ``width`` by ``height``."""
    with matplotlib.rc_context(_RC):
        size = (count * width / _UNITS_PER_INCH, height / _UNITS_PER_INCH)
        figure = Figure(figsize=size, layout="constrained")
        charts = [figure.add_subplot(1, count, place + 1) for place in range(count)]
    for axes in charts:
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.tick_params(length=0, color=GRID, labelcolor=MUTED, pad=5)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, charts


def label_axes(axes: Axes, x: str, y: str = "") -> None:
    """Name the axes; the names are taken as they are, ``$`` included."""
    axes.set_xlabel(x, color=MUTED, parse_math=False)
    if y:
        axes.set_ylabel(y, color=MUTED, parse_math=False)


def whole_numbers(axis: Axis) -> None:
    """Put a few ticks at whole numbers, written with separators."""
    axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axis.set_major_formatter(lambda number, _: count(round(number)))


def to_svg(figure: Figure, alternative: str) -> Markup:
    """Return the chart as an ``<svg>`` element that is read out as ``alternative``.

    The same chart and alternative give the same text, on every run.
    """
    buffer = io.StringIO()
    salt = hashlib.sha256(alternative.encode(errors="replace")).hexdigest()
    with matplotlib.rc_context({**_RC, "svg.hashsalt": salt}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return Markup(_inline(buffer.getvalue(), alternative))


def write_png(figure: Figure, path: Path) -> None:
    """Write the chart as a picture in the page's light scheme; it can't be shown as SVG afterwards."""
    figure.draw_without_rendering()  # only now there are all ticks, which have colours too
    for artist in figure.findobj():
        for what in ("color", "facecolor", "edgecolor"):
            if hasattr(artist, f"get_{what}") and hasattr(artist, f"set_{what}"):
                artist.set(**{what: _light(getattr(artist, f"get_{what}")())})
    figure.savefig(path, format="png", dpi=2 * _UNITS_PER_INCH)


def _light(colour: Any) -> Any:
    """A colour with the light scheme's in the place of a placeholder; a list of them likewise."""
    if not is_color_like(colour):
        return colour
    plain = to_hex(colour)
    return to_rgba(_LIGHT[plain], to_rgba(colour)[3]) if plain in _LIGHT else colour


def _inline(svg: str, alternative: str) -> str:
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box, "matplotlib wrote an SVG without a viewBox"
    body = svg[svg.index(">", box.end()) + 1 :]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    referred = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))  # the other ids would repeat on the page
    body = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in referred else "", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r' d="([^"]*)"', lambda match: f' d="{_shorter(match[1])}"', body)
    for placeholder, variable in _VARIABLES.items():
        body = body.replace(placeholder, variable)
    start = f'<svg class="chart" viewBox="{box[1]}" role="img" aria-label="{escape(alternative)}">'
    return f"{start}{body.strip()}\n"


def _shorter(path: str) -> str:
    return re.sub(r"(\.\d{2})\d+", r"\1", " ".join(path.split()))
