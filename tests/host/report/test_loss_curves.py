import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.report.loss_curves import Curve, LossCurves, chart_title, read_curves, smoothed, thinned
from tests.host.report.reading import HOSTILE, Page, check_harmless


def write_log(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def log(path: Path, steps: int = 100, heads: tuple[str, ...] = ("itc", "itm")) -> Path:
    lines = []
    for step in range(steps):
        values = {f"loss/{head}": 2.0 / (1 + step) for head in heads}
        lines.append({"step": step, "loss": sum(values.values()), **values, "lr": 0.1, "itm/accuracy": 0.5})
    return write_log(path, *lines)


def section(references: dict[str, float] | None = None, **runs: Path) -> LossCurves:
    return LossCurves(runs=runs, title="Curves", references=references or {})


def test_reads_losses_only(tmp_path: Path) -> None:
    curves = read_curves(log(tmp_path / "a.jsonl", 3))
    assert list(curves) == ["loss", "loss/itc", "loss/itm"]
    assert curves["loss/itc"] == Curve([0, 1, 2], [2.0, 1.0, 2 / 3])


def test_a_resumed_step_counts_as_logged_last_and_steps_are_sorted(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "a.jsonl",
        {"step": 1, "loss": 5.0},
        {"step": 3, "loss": 3.0},
        {"step": 2, "loss": 4.0},
        {"step": 3, "loss": 9.0},
    )
    assert read_curves(path) == {"loss": Curve([1, 2, 3], [5.0, 4.0, 9.0])}


def test_values_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "a.jsonl",
        {"step": 1, "loss": math.nan, "loss/lm": None},
        {"step": 2, "loss": 1.0, "loss/itm": math.inf},
        {"loss": 7.0},
        {"note": "text"},
    )
    assert read_curves(path) == {"loss": Curve([2], [1.0])}


def test_one_chart_per_loss_the_total_first(tmp_path: Path) -> None:
    page = Page(section(noisy=log(tmp_path / "a"), clean=log(tmp_path / "b", heads=("itm", "lm"))).html())
    captions = [element.text for element in page.all("figcaption")]
    assert captions == ["Total loss", "ITC loss", "ITM loss", "LM loss"]
    assert [element.text for element in page.all("li")] == ["noisy", "clean"]
    labels = [element.attributes["aria-label"] for element in page.all("svg")]
    assert "noisy from 2.000 to" in labels[1]
    assert "clean" not in labels[1]
    assert "clean" in labels[2]


def test_reference_line_is_named_and_drawn_in_its_chart_alone(tmp_path: Path) -> None:
    plain = section(a=log(tmp_path / "a")).html()
    html = section({"loss/itm": 0.6365}, a=log(tmp_path / "a")).html()
    assert [e.text for e in Page(html).all("figcaption")] == [
        "Total loss",
        "ITC loss",
        "ITM loss (dashed: 0.6365)",
    ]
    assert "stroke-dasharray" in html
    assert "stroke-dasharray" not in plain


@pytest.mark.parametrize("text", ["", '{"step": 1, "lr": 0.1}\n'])
def test_nothing_logged_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text(text)
    page = Page(section(noisy=path).html())
    assert page.one("p", "empty").text == "No losses were logged by noisy."
    assert not page.all("svg")
    both = Page(section(noisy=path, other=log(tmp_path / "b")).html())
    assert "by noisy" in both.one("p", "empty").text
    assert len(both.all("svg")) == 3


def test_no_runs_at_all() -> None:
    assert Page(section().html()).one("p", "empty").text == "No losses were logged."


def test_a_single_step_can_be_drawn(tmp_path: Path) -> None:
    assert len(Page(section(a=log(tmp_path / "a", 1)).html()).all("svg")) == 3


def test_names_are_escaped(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a", {"step": 0, "loss": 1.0, f"loss/{HOSTILE}": 1.0})
    page = Page(section(**{HOSTILE: path}).html())
    check_harmless(page)
    assert page.one("li").text == HOSTILE
    assert page.all("figcaption")[1].text == f"{HOSTILE} loss"


def test_chart_titles() -> None:
    assert chart_title("loss") == "Total loss"
    assert chart_title("loss/itm") == "ITM loss"
    assert chart_title("loss/contrastive") == "contrastive loss"


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=1000), st.integers(1, 300))
def test_thinning_keeps_the_mean_and_the_last_step(values: list[float], most: int) -> None:
    curve = Curve(list(range(0, 5 * len(values), 5)), values)
    thin = thinned(curve, most)
    assert len(thin.steps) == len(thin.values) == min(most, len(values))
    assert thin.steps[-1] == curve.steps[-1]
    assert thin.steps == sorted(set(thin.steps))
    assert min(values) - 1e-9 <= min(thin.values) <= max(thin.values) <= max(values) + 1e-9
    if len(values) % most == 0:
        assert math.isclose(sum(thin.values) / len(thin.values), sum(values) / len(values), abs_tol=1e-9)


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(1, 400))
def test_smoothing_does_not_bend_a_line(start: float, slope: float, length: int) -> None:
    line = [start + slope * step for step in range(length)]
    assert smoothed(line) == pytest.approx(line, abs=1e-6)


def test_smoothing_calms_noise() -> None:
    noise = [1.0 + (-1) ** step for step in range(200)]
    calm = smoothed(noise)[20:-20]
    assert max(calm) - min(calm) < 0.3
