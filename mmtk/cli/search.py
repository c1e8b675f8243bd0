"""Find the pictures of an index that fit a text or another picture best."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmtk.cli.model_arguments import add_json_argument, add_model_arguments, count_from, load_model
from mmtk.cli.results import Results, note
from mmtk.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="?", metavar="TEXT", help="what the pictures shall show")
    parser.add_argument("--image", metavar="FILE", help="a picture that they shall be similar to")
    parser.add_argument(
        "--index", type=Path, required=True, metavar="DIR", help="a folder that 'mmtk index' made"
    )
    parser.add_argument(
        "--top",
        type=count_from(1),
        default=10,
        metavar="N",
        help="how many are listed (default: 10)",
    )
    parser.add_argument(
        "--rerank",
        type=count_from(0),
        metavar="K",
        help="the matching head puts the K best in order, 32 if there is one; 0 goes by features alone",
    )
    add_model_arguments(parser, otherwise="; else the one that the index was made with")
    add_json_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    if (arguments.text is None) == (arguments.image is None):
        raise DataError("name a text, or a picture with --image, and not both")
    if arguments.image is not None and arguments.rerank:
        raise DataError("--rerank goes with a text: the matching head can't compare two pictures")
    if arguments.text is not None and Path(arguments.text).is_file():
        note(f"'{arguments.text}' is searched for as a text; --image takes a file")
    from mmtk.inference.index_files import read_index
    from mmtk.inference.searching import Query, search_index

    index = read_index(arguments.index)
    if arguments.model is None and not Path(index.about.model).is_dir():
        raise DataError(
            f"{arguments.index}: the model it was made with, {index.about.model}, is gone; "
            "--model says where it is now"
        )
    model = load_model(arguments, "embed", source=index.about.model, image_size=index.about.image_size)
    query = Query(
        arguments.text if arguments.image is None else arguments.image,
        by_image=arguments.image is not None,
        top=arguments.top,
        rerank=arguments.rerank,
    )
    results = Results(as_json=arguments.json)
    for rank, one in enumerate(search_index(model, index, query), 1):
        figures = {"rank": rank, "similarity": one.similarity, "match": one.probability}
        if one.error:
            results.add_error({"path": one.path, **figures}, one.error)
            continue
        match = "" if one.probability is None else f"match {one.probability:.3f}  "
        results.add(
            {"path": one.path, **figures}, f"{rank:>3}  {match}similarity {one.similarity:+.3f}  {one.path}"
        )
    return results.exit_code
