"""Sections of plugins, made in full before the page is, so that one which fails can be left out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

from mmtk.kinds import ReportSection
from mmtk.printable import brief
from mmtk.report.beside import FILE_NAME
from mmtk.report.embed import embedded_json, embedded_script
from mmtk.report.section import Accompanied, Headlined, Informed, Scripted, Styled


def made(section: ReportSection) -> ReportSection:
    """Return a section with the parts that ``section`` gives now, of which none can fail any more.

    Raises whatever the section does, TypeError for parts of the wrong type, and ValueError or AssertionError
    for those that can't stand on a page.
    """
    parts: dict[str, Any] = {"html": _text("html()", section.html())}
    if isinstance(section, Headlined):
        parts["headline"] = _text("headline()", section.headline())
    if isinstance(section, Styled):
        parts["css"] = _text("css()", section.css())
    if isinstance(section, Scripted):
        parts["script"] = _text("script()", section.script())
        embedded_script(parts["script"]).encode()
    if isinstance(section, Informed):
        parts["data"] = section.data()
        embedded_json(parts["data"])
    if isinstance(section, Accompanied):
        parts["files"] = [_file(name, content) for name, content in section.files()]
    methods = {name: _giving(part) for name, part in parts.items()}
    return cast(ReportSection, SimpleNamespace(title=_text("title", section.title), **methods))


def sections_of(answer: Any) -> list[Any]:
    """Return the sections that a hook gives, which may be made one by one. Raises TypeError for a text."""
    if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
        raise TypeError(f"expected a list of sections, not {brief(repr(answer))}")
    return list(answer)


def _text(part: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{part} of a section must be a text, not {brief(repr(value))}")
    return value


def _file(name: str, content: object) -> tuple[str, bytes]:
    if not FILE_NAME.fullmatch(name):
        raise ValueError(f"a section's file can't be named {name!r}")
    if not isinstance(content, bytes):
        raise TypeError(f"the file {name} of a section must be bytes, not {brief(repr(content))}")
    return name, content


def _giving(part: Any) -> Callable[[], Any]:
    return lambda: part
