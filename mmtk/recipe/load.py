"""Read a recipe: its file, what it extends, the command line's overrides and its interpolations."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmtk.errors import RecipeError
from mmtk.recipe.interpolation import resolve
from mmtk.recipe.marks import Marked, merge, plain
from mmtk.recipe.overrides import apply_overrides
from mmtk.recipe.problems import Problem
from mmtk.recipe.yaml_reader import read_yaml

OWN_KEYS = (
    "name",
    "description",
    "run_dir",
)  # they name one recipe and are not handed on to those extending it


@dataclass(frozen=True)
class RecipeDocument:
    """A recipe as it was written, with everything in its place.

    Attributes:
        path: its file.
        root: its resolved data, each part with file, line and column.
        problems: what is wrong already; ``check_recipe`` reports it with what it finds itself.
    """

    path: Path
    root: Marked
    problems: tuple[Problem, ...] = ()

    @property
    def data(self) -> Any:
        """The resolved data without places."""
        return plain(self.root)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> RecipeDocument:
    """Read the recipe at ``path``, lay it over those it extends, and set the overrides.

    Args:
        path: a YAML file.
        overrides: ``key=value`` each, e.g. ``stages.pretrain.epochs=2``; the value is YAML.

    Raises:
        RecipeError: a file is missing, is no YAML, or extends itself. Lesser faults go into the document.
    """
    problems: list[Problem] = []
    root = _read(Path(path), (), problems)
    root = apply_overrides(root, overrides, problems)
    root = resolve(root, problems)
    return RecipeDocument(Path(path), root, tuple(problems))


def _read(path: Path, above: tuple[Path, ...], problems: list[Problem]) -> Marked:
    recipe = read_yaml(_text(path), str(path), problems)
    if not isinstance(recipe.value, dict):
        raise RecipeError(f"{recipe.place}: a recipe is a mapping with the key 'stages', and this is none")
    extends = recipe.value.get("extends")
    own = {key: value for key, value in recipe.value.items() if key != "extends"}
    recipe = replace(recipe, value=own)
    if extends is None:
        return recipe
    if not isinstance(extends.value, str):
        raise RecipeError(f"{extends.place}  extends: expected the path of a recipe")
    base_path = Path(os.path.normpath(path.parent / extends.value))
    if any(base_path.resolve() == one.resolve() for one in (*above, path)):
        chain = " -> ".join(str(one) for one in (*above, path, base_path))
        raise RecipeError(f"{extends.place}  extends: recipes extend each other in a circle: {chain}")
    if not base_path.is_file():
        raise RecipeError(f"{extends.place}  extends: there is no file {base_path}")
    base = _read(base_path, (*above, path), problems)
    inherited = {key: value for key, value in base.value.items() if key not in OWN_KEYS}
    return merge(replace(base, value=inherited, place=recipe.place), recipe)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such recipe") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: no text file in UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{path}: can't be read: {error.strerror}") from None
