"""Print the JSON Schema of recipes, for editors, from the installed plugins."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """The command takes no arguments."""


def execute(_arguments: argparse.Namespace) -> int:
    from mmtk.plugins import load_plugins
    from mmtk.recipe.json_schema import recipe_schema

    with contextlib.redirect_stdout(sys.stderr):  # defaults of plugins' configs are made, which may print
        schema = recipe_schema(load_plugins().registry)
    print(json.dumps(schema, indent=1, ensure_ascii=False))
    return 0
