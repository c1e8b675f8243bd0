"""Check a recipe against the installed plugins without running or importing anything heavy."""

from __future__ import annotations

import argparse

from mmtk.cli.recipe_arguments import add_recipe_arguments, checked_recipe
from mmtk.printable import printable

add_arguments = add_recipe_arguments


def execute(arguments: argparse.Namespace) -> int:
    recipe, _registry = checked_recipe(arguments)
    count = len(recipe.stages)
    print(f"{printable(arguments.recipe)}: {count} stage{'s' if count != 1 else ''}, nothing wrong")
    return 0
