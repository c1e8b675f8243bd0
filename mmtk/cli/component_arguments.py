"""``key=value`` arguments that fill in one component's keys."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmtk.errors import RecipeError


def add_options(parser: argparse.ArgumentParser, kind: str) -> None:
    parser.add_argument(
        "options",
        nargs="*",
        default=[],
        metavar="key=value",
        help=f"keys of the {kind}, which docs/reference.md lists",
    )


def options_of(given: Sequence[str]) -> dict[str, str]:
    """Split ``key=value`` arguments. Raises RecipeError for one that is none, or whose key stands twice."""
    options: dict[str, str] = {}
    for argument in given:
        key, equals, value = argument.partition("=")
        if not equals or not key.isidentifier():
            raise RecipeError(f"command line: {argument}: expected key=value, e.g. image_size=384")
        if key in options:
            raise RecipeError(f"command line: {argument}: '{key}' is given twice")
        options[key] = value
    return options
