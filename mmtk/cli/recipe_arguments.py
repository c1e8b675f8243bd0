"""The arguments that name a recipe and change its keys, and what reads them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmtk.recipe import CheckedRecipe
    from mmtk.registry import Registry


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe's YAML file")
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
    from mmtk.plugins import load_plugins
    from mmtk.recipe import check_recipe, load_recipe

    registry = load_plugins().registry
    document = load_recipe(arguments.recipe, arguments.overrides, arguments.profiles)
    return check_recipe(document, registry), registry
