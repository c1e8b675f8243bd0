"""Write a run's model for another program: transformers, or the public BLIP code."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmtk.cli.component_arguments import add_options, options_of
from mmtk.printable import printable, printable_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="RUN", help="a run's folder or a checkpoint's")
    parser.add_argument("target", type=Path, metavar="DST", help="what is written; must not be there yet")
    parser.add_argument(
        "--format", metavar="NAME", required=True, help="the exporter; mmtk list-plugins names them"
    )
    parser.add_argument("--stage", metavar="NAME", help="whose checkpoint; else the last one finished")
    add_options(parser, "exporter")


def execute(arguments: argparse.Namespace) -> int:
    options = options_of(arguments.options)
    from mmtk.engine.foreign import export_learner
    from mmtk.plugins import load_plugins

    registry = load_plugins().registry
    said = export_learner(
        arguments.source, arguments.target, registry, arguments.format, options, arguments.stage
    )
    for line in said:
        print(f"note: {printable_lines(line)}")
    print(f"wrote {printable(arguments.target)}")
    return 0
