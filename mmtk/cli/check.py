"""Check a recipe against the installed plugins without running or importing anything heavy."""

from __future__ import annotations

import argparse

from mmtk.cli.recipe_arguments import add_recipe_arguments, checked_recipe
from mmtk.cli.results import note
from mmtk.printable import printable

add_arguments = add_recipe_arguments


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.stages.foresight import doubts
    from mmtk.stages.run_place import what_is_foreign

    recipe, registry = checked_recipe(arguments)
    count = len(recipe.stages)
    print(f"{printable(arguments.recipe)}: {count} stage{'s' if count != 1 else ''}, nothing wrong")
    if fault := what_is_foreign(recipe.run_dir):
        note(f"warning: a run would be refused: {fault}")
    for doubt in doubts(recipe, registry):
        # No mistake: a recipe may be checked on one machine and run on another.
        note(f"warning: training on several processes of this machine would fail: {doubt}")
    return 0
