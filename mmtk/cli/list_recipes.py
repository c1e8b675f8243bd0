"""List the recipes that come with mmtk, or those below folders."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmtk.printable import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="FOLDER", help="where to look; else what comes with mmtk"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.recipe.shipped import recipes_in, shipped_folder

    folders = arguments.folders or [shipped_folder()]
    found = [one for folder in folders for one in recipes_in(folder)]
    if arguments.json:
        rows = [{"name": one.name, "path": str(one.path), "description": one.description} for one in found]
        print(json.dumps(rows, indent=2))
        return 0
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        print(printable(f"{one.name:<{width}}  {one.description}").rstrip())
    if not arguments.folders:
        print(f"\nThey are in {printable(str(shipped_folder()))}; 'mmtk run NAME' runs one by its name.")
    return 0
