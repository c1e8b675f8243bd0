"""``extends``: a recipe on top of others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mmtk.errors import RecipeError
from mmtk.recipe.marks import Marked, merge
from mmtk.recipe.paths import near_file, path_fault, what_is_missing
from mmtk.recipe.problems import Problem, UnreadableError
from mmtk.recipe.shipped import nearest_shipped, shipped_recipe
from mmtk.recipe.unread import Definitions
from mmtk.recipe.yaml_reader import read_yaml

# They name one recipe and are not handed on to those extending it.
OWN_KEYS = ("name", "description", "run_dir")


def read_extended(path: Path, problems: list[Problem], definitions: Definitions) -> Marked:
    """Read the recipe at ``path`` and lay it over those it extends, of which later ones win.

    Args:
        path: its file.
        problems: what is wrong and leaves the rest readable is added here.
        definitions: is told of each layer.

    Raises:
        RecipeError: a file is missing, can't be read, is no YAML, or extends itself.
    """
    return _Reading(problems, definitions).read(path, ())


class _Reading:
    def __init__(self, problems: list[Problem], definitions: Definitions) -> None:
        self.problems = problems
        self.definitions = definitions
        self.done: dict[Path, Marked] = {}  # a file that several recipes extend is read once

    def read(self, path: Path, above: tuple[Path, ...]) -> Marked:
        if path not in self.done:
            self.done[path] = self.laid_over_bases(path, above)
        return self.done[path]

    def laid_over_bases(self, path: Path, above: tuple[Path, ...]) -> Marked:
        recipe = read_yaml(_text(path), str(path), self.problems)
        if not isinstance(recipe.value, dict):
            raise UnreadableError(
                recipe.place, "a recipe is a mapping with the key 'stages', and this is none"
            )
        own = replace(recipe, value={key: value for key, value in recipe.value.items() if key != "extends"})
        bases = list(_named(recipe.value.get("extends")))
        if not bases:
            self.definitions.base(own)
            return own
        below = replace(recipe, value={})
        for named in bases:
            base = self.read(_base_path(named, (*above, path)), (*above, path))
            handed_on = {key: value for key, value in base.value.items() if key not in OWN_KEYS}
            below = merge(below, replace(base, value=handed_on))
        result = merge(below, own)
        note = self.definitions.extended_layer if above else self.definitions.layer
        note(below, result)
        return result


def _named(extends: Marked | None) -> Iterator[Marked]:
    """Give each path that ``extends`` names."""
    if extends is None:
        return
    items = extends.value if isinstance(extends.value, list) else [extends]
    for item in items:
        if not isinstance(item.value, str) or not item.value:
            raise UnreadableError(item.place, "expected the path of a recipe, or a list of them", "extends")
        yield item


def _base_path(named: Marked, above: tuple[Path, ...]) -> Path:
    if fault := path_fault(named.value):
        raise UnreadableError(named.place, fault, "extends")
    path = Path(os.path.normpath(above[-1].parent / Path(named.value).expanduser()))
    if not os.path.exists(path) and (shipped := shipped_recipe(named.value)):  # noqa: PTH110 - as below
        path = shipped
    if any(path.resolve() == one.resolve() for one in above):
        chain = " -> ".join(str(one) for one in (*above, path))
        raise UnreadableError(named.place, f"recipes extend each other in a circle: {chain}", "extends")
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a name is too long
        fault = what_is_missing(path) or f"{path} is a folder, and no recipe"
        raise UnreadableError(named.place, f"{fault}{_shipped_hint(named.value, fault)}", "extends")
    return path


def _shipped_hint(named: str, fault: str) -> str:
    """Name the recipe that comes with mmtk which a missing base may have been meant as."""
    name = named.removesuffix(".yaml")
    near = name if shipped_recipe(name) else nearest_shipped(name)
    if near is None or "did you mean" in fault:
        return ""
    return f"; did you mean '{near}', which comes with mmtk?"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = near_file(path)
        hint = f"; did you mean {near}?" if near else ""
        raise RecipeError(f"{path}: there is no such recipe{hint}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: no text file in UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{path}: can't be read: {error.strerror}") from None
