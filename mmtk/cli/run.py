"""Run a recipe's stages; what is done is skipped, what was interrupted goes on."""

from __future__ import annotations

import argparse

from mmtk.cli.recipe_arguments import add_recipe_arguments, checked_recipe
from mmtk.cli.results import note


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument(
        "--nproc",
        type=_count,
        default=1,
        metavar="N",
        help="train in N processes on this machine, one to each GPU (as torchrun --nproc-per-node N)",
    )


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.distributed.group import before_meeting

    with before_meeting():
        recipe, registry = checked_recipe(arguments)
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
