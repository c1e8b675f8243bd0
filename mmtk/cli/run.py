"""Run a recipe's stages; what is done is skipped, what was interrupted goes on."""

from __future__ import annotations

import argparse

from mmtk.cli.recipe_arguments import add_recipe_arguments, checked_recipe

add_arguments = add_recipe_arguments


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.cli.console import output_console
    from mmtk.stages.runner import run_recipe

    recipe, registry = checked_recipe(arguments)
    run_recipe(recipe, registry, output_console())
    return 0
