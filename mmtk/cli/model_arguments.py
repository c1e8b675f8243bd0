"""The arguments that name pictures and a model, and what loads it."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mmtk.cli.results import note

if TYPE_CHECKING:
    from mmtk.inference import InferenceModel
    from mmtk.inference.loading import Task

DEVICES = re.compile(r"auto|cpu|cuda(:\d+)?")


def add_image_arguments(parser: argparse.ArgumentParser, count: str = "+") -> None:
    parser.add_argument(
        "images",
        nargs=count,
        metavar="IMAGE",
        help="a file, a folder, a pattern ('photos/**/*.jpg'), or - for one path per line of the input",
    )


def add_model_arguments(parser: argparse.ArgumentParser, *, otherwise: str = "") -> None:
    """Add the arguments that name a model; it may be left out where ``otherwise`` says what is taken then."""
    parser.add_argument(
        "--model",
        required=not otherwise,
        metavar="RUN",
        help=f"a run's folder, of which the last fitting checkpoint is taken, or a checkpoint's{otherwise}",
    )
    parser.add_argument("--stage", metavar="NAME", help="whose checkpoint of the run")
    parser.add_argument("--device", type=_device, default="auto", help="auto (the default), cpu or cuda")
    parser.add_argument(
        "--batch-size",
        type=_batch_size,
        default=None,
        metavar="N",
        help="items per batch; auto (the default) finds it. Where memory runs out it is halved.",
    )
    parser.add_argument(
        "--image-size",
        type=count_from(1),
        metavar="PIXELS",
        help="edge of the pictures as the model sees them; else that of its training",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action=argparse.BooleanOptionalAction,
        default=not sys.stdout.isatty(),
        help="print a JSON object per line; the default unless the output is a terminal",
    )


def load_model(
    arguments: argparse.Namespace,
    task: Task | None = None,
    *,
    source: str = "",
    image_size: int | None = None,
) -> InferenceModel:
    """Load the model that the arguments name, or ``source`` and its ``image_size`` where they name none."""
    from mmtk.inference import load

    return load(
        arguments.model or source,
        task=task,
        stage=arguments.stage,
        device=arguments.device,
        batch_size=arguments.batch_size,
        image_size=arguments.image_size or image_size,
        say=note,
    )


def pictures_of(arguments: argparse.Namespace) -> list[str]:
    """Return the paths of the pictures that the arguments name."""
    from mmtk.inference import find_pictures

    return find_pictures(arguments.images, input_lines())


def input_lines() -> Iterator[str]:
    """Yield the lines of the standard input without their ends; file names need not be in its encoding."""
    for line in sys.stdin.buffer:
        yield os.fsdecode(line.rstrip(b"\r\n"))


def count_from(least: int) -> Callable[[str], int]:
    """Return what reads a whole number from ``least`` on, for argparse."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, not '{text}'")
        return int(text)

    return read


def _batch_size(text: str) -> int | None:
    return None if text == "auto" else count_from(1)(text)


def _device(text: str) -> str:
    if not DEVICES.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, cuda or cuda:N, not '{text}'")
    return text
