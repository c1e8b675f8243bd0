"""Write the package of a new plugin: a component that works, a recipe that uses it, and tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmtk.cli import completion
from mmtk.printable import printable
from mmtk.scaffold import KINDS, write_plugin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the distribution, as my-siglip")
    kind = parser.add_argument("--kind", metavar="KIND", required=True, help=f"one of {', '.join(KINDS)}")
    kind.completer = completion.template_kinds  # type: ignore[attr-defined]
    parser.add_argument(
        "--into", type=Path, metavar="DIR", default=Path(), help="where the folder NAME is made; else here"
    )


def execute(arguments: argparse.Namespace) -> int:
    for path in write_plugin(arguments.name, arguments.kind, arguments.into):
        print(f"wrote {printable(path)}")
    folder = printable(arguments.into / arguments.name)
    print(f"next: pip install -e {folder}; pytest {folder}; mmtk check {folder}/recipe.yaml")
    return 0
