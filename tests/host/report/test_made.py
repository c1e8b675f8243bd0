"""Sections of plugins that fail are left out of the report and named; the report is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmtk.events import Listener, Listeners
from mmtk.registry import Registry
from mmtk.report.made import made
from mmtk.report.stage import ReportStage
from mmtk.stages.context import StageContext
from tests.host.report.reading import Page, check_harmless


class Section:
    title = "From outside"

    def html(self) -> str:
        return "<p>about it</p>"


class Rich(Section):
    def headline(self) -> str:
        return "It worked."

    def css(self) -> str:
        return ".mine { color: inherit; }"

    def script(self) -> str:
        return "document.title = 'alive'"

    def data(self) -> object:
        return {"a": 1}

    def files(self) -> Iterator[tuple[str, bytes]]:
        yield "1.js", b"1"


def report(folder: Path, *answers: Callable[[], Any]) -> tuple[Page, list[str]]:
    """The report with what hooks of plugins answer, and what was said meanwhile."""

    def listener(number: int, answer: Callable[[], Any]) -> Listener:
        return Listener(f"plugin '{number}' (kit 2.0)", lambda **_: [answer()])

    said: list[str] = []
    hooks = tuple(listener(number, answer) for number, answer in enumerate(answers))
    listeners = Listeners({"mmtk_report_sections": hooks})
    listeners.say = said.append
    place = folder / "run" / "report"
    place.mkdir(parents=True)
    context = StageContext("report", place, 7, "cpu", Registry(listeners=listeners), lambda _text: None)
    ReportStage(sections=[]).run(context)
    page = Page((place / "report.html").read_text("utf-8"))
    check_harmless(page)
    return page, said


def fails(*_: object) -> Any:
    raise KeyError("x")


def late() -> Iterator[Section]:
    yield Section()
    raise RuntimeError("late")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (fails, "KeyError: 'x'"),
        (late, "RuntimeError: late"),
        (lambda: "abc", "TypeError: expected a list of sections, not 'abc'"),
        (lambda: 5, "TypeError: expected a list of sections, not 5"),
    ],
)
def test_an_answer_that_fails(tmp_path: Path, answer: Callable[[], Any], why: str) -> None:
    page, said = report(tmp_path, answer, lambda: [Section()])
    assert [heading.text for heading in page.all("h2")] == ["From outside", "How it was made"]
    where = "in its hook mmtk_report_sections, which is not called again"
    assert said == [f"plugin '0' (kit 2.0) failed {where}: {why}"]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"html": fails}, "KeyError: 'x'"),
        ({"html": None}, "TypeError: 'NoneType' object is not callable"),
        ({"html": lambda _: 3}, "TypeError: html() of a section must be a text, not 3"),
        ({"title": None}, "TypeError: title of a section must be a text, not None"),
        ({"headline": fails}, "KeyError: 'x'"),
        ({"css": lambda _: None}, "TypeError: css() of a section must be a text, not None"),
        ({"script": lambda _: "</script>"}, "AssertionError: a section's script would end its own element"),
        ({"data": lambda _: {1, 2}}, "TypeError: Object of type set is not JSON serializable"),
        ({"files": fails}, "KeyError: 'x'"),
        ({"files": lambda _: [("../x.js", b"")]}, "ValueError: a section's file can't be named '../x.js'"),
        (
            {"files": lambda _: [("x.js", "1")]},
            "TypeError: the file x.js of a section must be bytes, not '1'",
        ),
    ],
)
def test_a_section_that_fails(tmp_path: Path, parts: dict[str, Any], why: str) -> None:
    broken = type("Broken", (Rich,), parts)
    page, said = report(tmp_path, lambda: [broken(), Section()])
    assert [heading.text for heading in page.all("h2")] == ["From outside", "How it was made"]
    where = "in a section of its hook mmtk_report_sections, which is left out"
    assert said == [f"plugin '0' (kit 2.0) failed {where}: {why}"]


def test_what_is_no_section(tmp_path: Path) -> None:
    _page, said = report(tmp_path, lambda: [5])
    assert "AttributeError: 'int' object has no attribute 'html'" in said[0]


def test_a_section_has_the_parts_that_it_had(tmp_path: Path) -> None:
    page, said = report(tmp_path, lambda: [Rich()])
    assert said == []
    assert page.one("ul", "headlines").text.strip() == "It worked."
    assert page.one("script", "section-data").text == '{"a":1}'
    assert (tmp_path / "run/report/report_files/report/from-outside/1.js").read_bytes() == b"1"
    assert set(vars(made(Section()))) == {"title", "html"}
