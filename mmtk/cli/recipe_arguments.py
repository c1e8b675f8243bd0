"""The arguments that name a recipe and change its keys, and what reads them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmtk.recipe import CheckedRecipe
    from mmtk.registry import Registry


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe",
        type=Path,
        metavar="RECIPE",
        help="a recipe's YAML file, or the folder of a run, whose recipe is run again there",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="keys of the recipe that this run sets otherwise, e.g. stages.pretrain.epochs=2",
    )
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        dest="profiles",
        metavar="NAME",
        help="one of the recipe's profiles to lay over it; may be given several times",
    )


def checked_recipe(arguments: argparse.Namespace) -> tuple[CheckedRecipe, Registry]:
    """Load the plugins and the recipe, and check the one against the other.

    Raises:
        RecipeError: with everything that is wrong in the recipe.
        PluginError: two plugins claim one component.
    """
    from mmtk.errors import RecipeError
    from mmtk.plugins import load_plugins
    from mmtk.recipe import check_recipe, load_recipe
    from mmtk.recipe.run_folder import recipe_of_run, started_elsewhere

    registry = load_plugins().registry
    path, overrides = arguments.recipe, arguments.overrides
    if not path.is_dir():
        return check_recipe(load_recipe(path, overrides, arguments.profiles), registry), registry
    recipe, same_folder = recipe_of_run(path)
    document = load_recipe(recipe, [same_folder, *overrides], arguments.profiles)
    try:
        return check_recipe(document, registry), registry
    except RecipeError as error:
        raise RecipeError(f"{error}{started_elsewhere(path)}") from error
