"""Turn a model of another program (public BLIP, LAVIS, transformers) into a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmtk.cli.component_arguments import add_options, options_of
from mmtk.printable import printable, printable_lines

if TYPE_CHECKING:
    from mmtk.engine.initialise import Takeover


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SRC", help="a file or folder of another program")
    parser.add_argument("target", type=Path, metavar="DST", help="the checkpoint's folder, not there yet")
    parser.add_argument("--format", metavar="NAME", help="the importer; else the one that knows SRC")
    add_options(parser, "importer")


def execute(arguments: argparse.Namespace) -> int:
    options = options_of(arguments.options)
    from mmtk.engine.foreign import import_learner
    from mmtk.plugins import load_plugins

    registry = load_plugins().registry
    done = import_learner(arguments.source, arguments.target, registry, arguments.format, options)
    print(f"{printable(arguments.source)}: read as {done.importer}")
    print_takeover(done.takeover)
    for note in done.notes:
        print(f"note: {printable_lines(note)}")
    target = printable(arguments.target)
    print(f"wrote {target}; a recipe takes it as a checkpoint: init: {target}")
    return 0


def print_takeover(takeover: Takeover) -> None:
    """Print what was loaded, left over and missing; every name of the last two."""
    print(f"loaded: {len(takeover.loaded)} tensors")
    for word, names in (("left over", takeover.left_over), ("missing", takeover.fresh)):
        print(f"{word}: {len(names) or 'nothing'}")
        for name in names:
            print(f"  {printable(name)}")
