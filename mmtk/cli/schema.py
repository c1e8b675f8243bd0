"""Print the JSON Schema of recipes, for editors, from the installed plugins."""

from __future__ import annotations

import argparse
import json


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """The command takes no arguments."""


def execute(_arguments: argparse.Namespace) -> int:
    from mmtk.plugins import load_plugins
    from mmtk.recipe.json_schema import recipe_schema

    print(json.dumps(recipe_schema(load_plugins().registry), indent=1, ensure_ascii=False))
    return 0
