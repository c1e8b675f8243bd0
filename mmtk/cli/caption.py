"""Write captions of pictures with a trained model."""

from __future__ import annotations

import argparse

from mmtk.cli.model_arguments import (
    add_image_arguments,
    add_json_argument,
    add_model_arguments,
    count_from,
    load_model,
    pictures_of,
)
from mmtk.cli.results import Results, progress
from mmtk.errors import RecipeError
from mmtk.types import Decoding

DEFAULT = Decoding()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image_arguments(parser)
    add_model_arguments(parser)
    method = parser.add_mutually_exclusive_group()
    method.add_argument(
        "--beams",
        type=count_from(1),
        metavar="N",
        help=f"width of the beam search (default: {DEFAULT.beams}); 1 is greedy",
    )
    method.add_argument(
        "--top-p",
        type=_share,
        metavar="P",
        help="draw each word from the likeliest ones that hold this mass, e.g. 0.9 (nucleus sampling)",
    )
    parser.add_argument(
        "--num", type=count_from(1), default=1, metavar="N", help="captions per picture; needs --top-p"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="what --top-p draws from")
    parser.add_argument(
        "--prompt", metavar="TEXT", help="words that captions begin with, cut off from them; else training's"
    )
    for bound, default in (("min", DEFAULT.min_length), ("max", DEFAULT.max_length)):
        parser.add_argument(
            f"--{bound}-length",
            type=count_from(1),
            metavar="N",
            help=f"tokens of a caption, the prompt's included (default: {default})",
        )
    add_json_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    if arguments.num > 1 and arguments.top_p is None:
        raise RecipeError(f"--num {arguments.num}: beam search writes one caption; --top-p 0.9 draws several")
    model = load_model(arguments, "caption")
    pictures = pictures_of(arguments)
    results = Results(as_json=arguments.json)
    captioned = model.captions(
        pictures, _decoding(arguments, model.preparation.prompt), arguments.num, arguments.seed
    )
    with progress("captions", len(pictures)) as advance:
        for one in captioned:
            for caption in one.captions:
                results.add({"path": one.path, "caption": caption}, f"{one.path}: {caption}")
            if one.error:
                results.add_error({"path": one.path}, one.error)
            advance()
    return results.exit_code


def _decoding(arguments: argparse.Namespace, prompt: str) -> Decoding:
    """How to write. Of the lengths one that is not given gives way to one that is."""
    longest = arguments.max_length or max(DEFAULT.max_length, arguments.min_length or 0)
    decoding = Decoding(
        method="beam" if arguments.top_p is None else "nucleus",
        beams=arguments.beams or DEFAULT.beams,
        top_p=DEFAULT.top_p if arguments.top_p is None else arguments.top_p,
        min_length=arguments.min_length or min(DEFAULT.min_length, longest),
        max_length=longest,
        prompt=prompt if arguments.prompt is None else arguments.prompt,
    )
    for name, problem in decoding.check():
        raise RecipeError(f"--{name.replace('_', '-')}: {problem}")
    return decoding


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, not '{text}'")
    return share
