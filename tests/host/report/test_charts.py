import re

import pytest
from matplotlib.figure import Figure

from mmtk.report import charts
from tests.host.report.reading import HOSTILE, Page


def chart(alternative: str = "two points") -> str:
    drawing, axes = charts.new_chart()
    axes.plot([0, 3000], [1, 2], color=charts.series_colour(0))
    axes.bar([0], [1], color=charts.series_colour(7))
    axes.axhline(1.5, color=charts.INK)
    charts.whole_numbers(axes.xaxis)
    charts.label_axes(axes, "cost in $ <b> and more $")
    return str(charts.to_svg(drawing, alternative))


def test_it_is_one_svg_element_with_its_alternative() -> None:
    svg = Page(chart(HOSTILE)).one("svg")
    assert svg.attributes["role"] == "img"
    assert svg.attributes["aria-label"] == HOSTILE
    assert "width" not in svg.attributes  # the page decides


def test_text_stays_text_in_the_font_of_the_page() -> None:
    svg = chart()
    texts = [element.text for element in Page(svg).all("text")]
    assert "cost in $ <b> and more $" in texts
    assert {"0", "800", "1,600", "2,400"} <= set(texts)
    assert "font-family" not in svg
    assert "DejaVu" not in svg


def test_colours_follow_the_scheme() -> None:
    svg = chart()
    assert "var(--series-1)" in svg
    assert "var(--series-2)" in svg  # the eighth series begins anew
    assert "var(--muted)" in svg
    assert "currentColor" in svg
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", svg)


def test_equal_charts_are_equal_texts_and_ids_differ_between_charts() -> None:
    assert chart() == chart()
    ids = [set(re.findall(r'id="([^"]+)"', chart(name))) for name in ("one", "another")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_every_reference_has_its_target() -> None:
    svg = chart()
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= ids
    assert set(re.findall(r'href="#([^"]+)"', svg)) <= ids


def test_nothing_from_outside() -> None:
    svg = chart()
    assert "http" not in svg
    assert "<!DOCTYPE" not in svg
    assert "<style" not in svg


def test_path_coordinates_are_short() -> None:
    assert not re.search(r' d="[^"]*\.\d{3}', chart())


def test_legend_colours_match_the_chart() -> None:
    assert charts.series_variable(0) == "var(--series-1)"
    assert charts.series_variable(6) == charts.series_variable(0)


def test_drawing_changes_no_global_setting() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    chart()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("width", "height"), [(360, 220), (100, 50)])
def test_size_in_svg_units(width: int, height: int) -> None:
    drawing, _ = charts.new_chart(width, height)
    assert isinstance(drawing, Figure)
    assert (
        Page(str(charts.to_svg(drawing, "empty"))).one("svg").attributes["viewbox"] == f"0 0 {width} {height}"
    )
