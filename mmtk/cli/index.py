"""Make an index of pictures that 'mmtk search' looks through, or bring one up to date."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmtk.cli.model_arguments import (
    add_image_arguments,
    add_json_argument,
    add_model_arguments,
    load_model,
    pictures_of,
)
from mmtk.cli.results import Results, note, progress
from mmtk.report.wording import counted

if TYPE_CHECKING:
    from mmtk.inference import Embedded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument(
        "--index",
        type=Path,
        required=True,
        metavar="DIR",
        help="the index's folder, which is made if need be",
    )
    add_json_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    model = load_model(arguments, "embed")
    pictures = pictures_of(arguments)
    results = Results(as_json=arguments.json)
    with progress("index", len(pictures)) as advance:

        def watch(one: Embedded) -> None:
            if one.error:
                results.add_error({"path": one.name}, one.error)
            advance()

        done = model.index(pictures, arguments.index, watch)
    counts = {"new": done.new, "unchanged": done.unchanged, "gone": done.gone, "failed": len(done.failed)}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    note(f"{arguments.index}: {counted(done.new + done.unchanged, 'picture')} ({said})")
    return results.exit_code
