"""The recipes that come with mmtk: those of the checkout, or those that its wheel has installed."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from mmtk.errors import DataError
from mmtk.registry import nearest

CHECKOUT = Path(__file__).parents[2] / "recipes"
INSTALLED = Path(sysconfig.get_path("data"), "share", "mmtk", "recipes")


@dataclass(frozen=True)
class FoundRecipe:
    """A recipe file.

    Attributes:
        name: its path below the folder it was found in, without the ending.
        path: where it is.
        description: its ``description``, or the first sentence of the comment at its top; may be empty.
    """

    name: str
    path: Path
    description: str


def shipped_folder() -> Path:
    """Where the recipes that come with mmtk are."""
    return CHECKOUT if CHECKOUT.is_dir() else INSTALLED


def recipes_in(folder: Path) -> list[FoundRecipe]:
    """The recipes below a folder, by name. Raises DataError when there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    return sorted(_found(folder), key=lambda one: one.name)


def shipped_recipe(name: str) -> Path | None:
    """The path of a recipe that comes with mmtk, by its name; None where there is none of this name."""
    path = shipped_folder() / f"{name}.yaml"
    # Path.is_file raises where a name is too long.
    return path if re.fullmatch(r"[\w-]+(/[\w-]+)*", name) and os.path.isfile(path) else None  # noqa: PTH113


def nearest_shipped(name: str) -> str | None:
    """The shipped recipe that ``name`` is most likely a misspelling of."""
    folder = shipped_folder()
    return nearest(name, [one.name for one in _found(folder)]) if folder.is_dir() else None


def _found(folder: Path) -> Iterator[FoundRecipe]:
    for path in folder.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8", errors="replace")
        if re.search(r"^(stages|extends):", text, re.MULTILINE):
            name = path.relative_to(folder).with_suffix("").as_posix()
            yield FoundRecipe(name, path, _described(text))


def _described(text: str) -> str:
    """The description; a recipe that is no YAML is listed by its comment."""
    try:
        recipe = yaml.safe_load(_top(text))
    except yaml.YAMLError:
        recipe = None
    if isinstance(recipe, dict) and isinstance(found := recipe.get("description"), str):
        return " ".join(found.split())
    comment = re.match(r"(?:#.*\n)+", text)
    words = " ".join(line.lstrip("# ") for line in comment[0].splitlines()) if comment else ""
    return re.split(r"(?<=\.)\s", words)[0]


def _top(text: str) -> str:
    """The entry ``description`` alone, so that no more than it is parsed."""
    entry = re.search(r"^description:.*\n(?:[ \t]+.*\n|\n)*", text, re.MULTILINE)
    return entry[0] if entry else ""
