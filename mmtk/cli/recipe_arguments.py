"""The arguments that name a recipe and change its keys, and what reads them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmtk.cli import completion

if TYPE_CHECKING:
    from mmtk.recipe import CheckedRecipe
    from mmtk.registry import Registry


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    recipe = parser.add_argument(
        "recipe",
        type=Path,
        metavar="RECIPE",
        help="a recipe's YAML file; the name of one that comes with mmtk (see 'mmtk list-recipes'); or the "
        "folder of a run, whose recipe is run again there",
    )
    recipe.completer = completion.recipes  # type: ignore[attr-defined]
    overrides = parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="keys of the recipe that this run sets otherwise, e.g. stages.pretrain.epochs=2",
    )
    overrides.completer = completion.stage_keys  # type: ignore[attr-defined]
    profiles = parser.add_argument(
        "--profile",
        action="append",
        default=[],
        dest="profiles",
        metavar="NAME",
        help="one of the recipe's profiles to lay over it; may be given several times",
    )
    profiles.completer = completion.profiles  # type: ignore[attr-defined]


def checked_recipe(arguments: argparse.Namespace) -> tuple[CheckedRecipe, Registry]:
    """Load the plugins and the recipe, and check the one against the other.

    Raises:
        RecipeError: with everything that is wrong in the recipe.
        PluginError: two plugins claim one component.
    """
    with contextlib.redirect_stdout(sys.stderr):  # configs of plugins have a say, and may print
        return _checked(arguments)


def _checked(arguments: argparse.Namespace) -> tuple[CheckedRecipe, Registry]:
    from mmtk.errors import RecipeError
    from mmtk.plugins import load_plugins
    from mmtk.recipe import check_recipe, load_recipe
    from mmtk.recipe.run_folder import plugins_of_run, recipe_of_run, started_elsewhere

    registry = load_plugins().registry
    path, overrides = _meant(arguments.recipe), arguments.overrides
    if not path.is_dir():
        return check_recipe(load_recipe(path, overrides, arguments.profiles, registry), registry), registry
    recipe, same_folder = recipe_of_run(path)
    registry = registry.preferring(plugins_of_run(path))
    document = load_recipe(recipe, [same_folder, *overrides], arguments.profiles, registry)
    try:
        return check_recipe(document, registry), registry
    except RecipeError as error:
        raise RecipeError(f"{error}{started_elsewhere(path)}") from error


def _meant(recipe: Path) -> Path:
    """The path itself or, where nothing is there, that of the shipped recipe of this name."""
    from mmtk.errors import RecipeError
    from mmtk.recipe.shipped import nearest_shipped, shipped_recipe

    name = str(recipe)
    if recipe.exists() or recipe.suffix:
        return recipe
    if found := shipped_recipe(name):
        return found
    near = nearest_shipped(name)
    hint = f"did you mean '{near}'?" if near else "'mmtk list-recipes' lists those that come with mmtk"
    raise RecipeError(f"{name}: there is no such recipe, neither a file nor one that comes with mmtk; {hint}")
