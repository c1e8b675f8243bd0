"""Say how well texts fit a picture, with a trained model."""

from __future__ import annotations

import argparse

from mmtk.cli.model_arguments import add_json_argument, add_model_arguments, load_model
from mmtk.cli.results import Results
from mmtk.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a picture's file")
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="what the picture may show")
    add_model_arguments(parser)
    add_json_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    model = load_model(arguments, "match")
    results = Results(as_json=arguments.json)
    path = arguments.image
    try:
        matched = model.match(path, arguments.texts)
    except DataError as error:
        results.add_error({"path": path}, str(error).removeprefix(f"{path}: "))
        return results.exit_code
    for one in matched:
        record = {"path": path, "text": one.text}
        if one.error:
            results.add_error(record, one.error)
            continue
        figures = {"match": one.probability, "similarity": one.similarity}
        results.add(
            record | figures, f"match {one.probability:.3f}  similarity {one.similarity:+.3f}  {one.text}"
        )
    return results.exit_code
