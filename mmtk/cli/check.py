"""Check a recipe against the installed plugins without running or importing anything heavy."""

from __future__ import annotations

import argparse

from mmtk.cli.recipe_arguments import add_recipe_arguments, checked_recipe

add_arguments = add_recipe_arguments


def execute(arguments: argparse.Namespace) -> int:
    recipe, _registry = checked_recipe(arguments)
    count = len(recipe.stages)
    print(f"{arguments.recipe}: {count} stage{'s' if count != 1 else ''}, nothing wrong")
    return 0
