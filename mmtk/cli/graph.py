"""Draw a recipe: its stages, what flows between them, and the components each is made of."""

from __future__ import annotations

import argparse

from mmtk.cli.recipe_arguments import add_recipe_arguments, checked_recipe
from mmtk.printable import printable_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument(
        "--mermaid", action="store_true", help="print the stages as a Mermaid flowchart, for Markdown pages"
    )


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.discover.recipe_graph import as_mermaid, as_tree

    checked, _registry = checked_recipe(arguments)
    lines = as_mermaid(checked) if arguments.mermaid else as_tree(checked)
    print(printable_lines("\n".join(lines)))
    return 0
