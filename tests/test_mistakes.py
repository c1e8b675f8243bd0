"""``docs/mistakes.md``: every mistake gets the message that the page says, and the message helps."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmtk.plugins import load_plugins

DOCS = Path(__file__).parent.parent / "docs"
MAKER = runpy.run_path(str(DOCS / "make_mistakes.py"))
RECIPE, GROUPS = MAKER["load"]()
MISTAKES = [mistake for group in GROUPS.values() for mistake in group]


@pytest.fixture
def folder() -> Iterator[Path]:
    with MAKER["workplace"]() as folder:
        yield folder


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "mistakes.md").read_text("utf-8")


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.what for mistake in MISTAKES])
def test_each_mistake_gets_its_message(mistake: Any, folder: Path, page: str) -> None:
    text = MAKER["message"](mistake, RECIPE, load_plugins().registry, folder)
    said = [line.strip() for line in text.split("\n") if mistake.helps in line]
    assert said, text
    assert f"`{said[0]}`" in page.replace("\\|", "|"), "run: python docs/make_mistakes.py"
    # A second message may only say what the mistake leaves out.
    problems = [line for line in text.split("\n") if not line.startswith("    | ")]
    assert len(problems) == 1 or "required and missing" in text
    assert "Traceback" not in text


def test_there_are_forty_or_more() -> None:
    assert len(MISTAKES) >= 40
    assert len({mistake.what for mistake in MISTAKES}) == len(MISTAKES)


def test_the_page_is_up_to_date(page: str) -> None:
    assert MAKER["page"]() == page, "run: python docs/make_mistakes.py"


def test_the_recipe_has_no_mistake(folder: Path) -> None:
    right = MAKER["Mistake"](what="none", helps="")
    with pytest.raises(AssertionError, match="nobody minds: none"):
        MAKER["message"](right, RECIPE, load_plugins().registry, folder)
