"""Writes ``docs/mistakes.md``: common mistakes in recipes, each with the message that it gets.

Run as ``python docs/make_mistakes.py``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from mmtk.errors import RecipeError
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.registry import Registry

TARGET = Path(__file__).with_name("mistakes.md")
SOURCE = TARGET.with_suffix(".yaml")
INTRODUCTION = """\
# Common mistakes in recipes

Made by `docs/make_mistakes.py`, which makes each mistake of `mistakes.yaml` and notes the message; don't edit
it by hand.

`mmtk check` and `mmtk run` print all mistakes of a recipe at once. Below each message they show the line with
a mark under the column, which is left out here. Each row changes one thing in the recipe at the end of this
page, or calls `mmtk check recipe.yaml` with the arguments given.
"""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One mistake: ``wrong`` stands where the recipe has ``right``, or the command has ``arguments``.

    Attributes:
        what: in the reader's words.
        helps: words of the message that tell the reader what to do.
        shown: what the page shows in the place of ``wrong``, where that can't be seen.
    """

    what: str
    helps: str
    right: str = ""
    wrong: str = ""
    arguments: str = ""
    shown: str = ""


def load() -> tuple[str, dict[str, list[Mistake]]]:
    """Return the recipe, and the mistakes by the headings that they stand under."""
    data = yaml.safe_load(SOURCE.read_text("utf-8"))
    groups = {title: [Mistake(**one) for one in group] for title, group in data["mistakes"].items()}
    return data["recipe"], groups


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Work in a folder with the data that the recipe names."""
    before = Path.cwd()
    variables = {name: os.environ.pop(name, None) for name in ("DATA", "DATA_ROOT")}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("data/web").mkdir(parents=True)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
            os.environ.update({name: value for name, value in variables.items() if value is not None})


def message(mistake: Mistake, recipe: str, registry: Registry, folder: Path) -> str:
    """Make the mistake in the workplace and return what a user reads of it, the folder being ``/work``."""
    assert mistake.right in recipe, mistake
    path = Path("recipe.yaml")
    path.write_text(recipe.replace(mistake.right, mistake.wrong) if mistake.right else recipe, "utf-8")
    words = mistake.arguments.split()
    profiles = words[1:] if words[:1] == ["--profile"] else []
    try:
        check_recipe(load_recipe(path, [] if profiles else words, profiles), registry)
    except RecipeError as error:
        return str(error).replace(str(folder.resolve()), "/work")
    raise AssertionError(f"nobody minds: {mistake.what}")


def page() -> str:
    """The whole page."""
    registry = load_plugins().registry
    recipe, groups = load()
    blocks = [INTRODUCTION]
    with workplace() as folder:
        for title, mistakes in groups.items():
            rows = [_row(one, message(one, recipe, registry, folder)) for one in mistakes]
            heading = f"## {title}\n\n| mistake | written | message |\n| --- | --- | --- |\n"
            blocks.append(f"{heading}{''.join(rows)}")
    return "\n".join([*blocks, f"## The recipe\n\n```yaml\n{recipe}```\n"])


def _row(mistake: Mistake, text: str) -> str:
    """A row of the table; of several messages the one that helps."""
    said = next(line.strip() for line in text.split("\n") if mistake.helps in line)
    written = mistake.wrong or mistake.arguments
    shown = mistake.shown or (_code(written) if written else f"without {_code(mistake.right)}")
    return f"| {mistake.what} | {shown} | {_code(said)} |\n"


def _code(text: str) -> str:
    return "<br>".join(f"`{line.strip()}`" for line in text.strip().split("\n")).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
