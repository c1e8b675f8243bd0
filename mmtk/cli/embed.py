"""Write the features of pictures or texts into a file, with a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmtk.cli.model_arguments import (
    add_image_arguments,
    add_json_argument,
    add_model_arguments,
    input_lines,
    load_model,
    pictures_of,
)
from mmtk.cli.results import Results, note, progress
from mmtk.errors import DataError
from mmtk.report.wording import counted

SUFFIXES = (".npy", ".npz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image_arguments(parser, "*")
    parser.add_argument(
        "--texts",
        nargs="+",
        metavar="TEXT",
        help="texts, not pictures; - for one per line of the input",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="a row of unit length each: .npy holds the rows, .npz 'embeddings' and 'names'",
    )
    add_json_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    output: Path = arguments.output
    if bool(arguments.images) == bool(arguments.texts):
        raise DataError("name pictures, or --texts, and not both")
    if output.suffix not in SUFFIXES:
        raise DataError(f"--output {output}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if output.is_dir():
        raise DataError(f"--output {output}: a folder; expected a file's name")
    if not output.parent.is_dir():
        raise DataError(f"--output {output}: there is no folder {output.parent}")
    model = load_model(arguments, "embed")
    kind, named = ("text", _texts(arguments)) if arguments.texts else ("path", pictures_of(arguments))
    features = model.text_features(named) if arguments.texts else model.image_features(named)
    results = Results(as_json=arguments.json)
    names: list[str] = []
    rows: list[Any] = []
    with progress("features", len(named)) as advance:
        for one in features:
            if one.features is None:
                results.add_error({kind: one.name}, one.error)
            else:
                results.add({kind: one.name, "row": len(rows)}, f"{len(rows)}: {one.name}")
                names.append(one.name)
                rows.append(one.features.numpy())
            advance()
    _write(output, names, rows)
    note(f"wrote {counted(len(rows), 'row')} to {output}")
    return results.exit_code


def _texts(arguments: argparse.Namespace) -> list[str]:
    return [
        text
        for given in arguments.texts
        for text in (filter(None, input_lines()) if given == "-" else (given,))
    ]


def _write(output: Path, names: list[str], rows: list[Any]) -> None:
    import numpy as np

    matrix = np.stack(rows) if rows else np.empty((0, 0), np.float32)
    partial = output.with_name(f".{output.name}.partial{output.suffix}")
    try:
        if output.suffix == ".npy":
            np.save(partial, matrix)
        else:
            np.savez(partial, embeddings=matrix, names=np.array(names, dtype=np.str_))
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
