"""Run a recipe's stages; what is done is skipped, what was interrupted goes on."""

from __future__ import annotations

import argparse
import sys

from mmtk.cli.recipe_arguments import add_recipe_arguments, checked_recipe
from mmtk.cli.results import note
from mmtk.printable import printable_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument(
        "--nproc",
        type=_count,
        default=1,
        metavar="N",
        help="train in N processes on this machine, one to each GPU (as torchrun --nproc-per-node N)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="run nothing; say which stages would run and, as far as can be known, what they would take",
    )
    parser.add_argument(
        "--resolved",
        action="store_true",
        help="print the recipe with every default filled in, as YAML, and run nothing",
    )


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.distributed.group import before_meeting

    with before_meeting():
        recipe, registry = checked_recipe(arguments)
    if arguments.resolved:
        from mmtk.recipe.run_folder import resolved_text

        sys.stdout.write(resolved_text(recipe))
        return 0
    if arguments.dry_run:
        from mmtk.stages.dry_run import dry_run

        dry_run(recipe, registry, lambda line: print(printable_lines(line)), arguments.nproc)
        return 0
    if arguments.nproc > 1:
        from mmtk.distributed.launch import launch

        profiles = [f"--profile={name}" for name in arguments.profiles]
        command = ["run", str(arguments.recipe), *profiles, *arguments.overrides]
        code, unsaid = launch(arguments.nproc, command)
        if unsaid:
            note(unsaid)
        return code
    from mmtk.cli.console import output_console
    from mmtk.stages.runner import run_recipe

    run_recipe(recipe, registry, output_console())
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of processes, not '{text}'")
    return int(text)
