"""How near the pass of CapFilt comes to the time of its models alone.

The pass reads JPEGs from a tar shard, captions them, scores both texts of each, and writes shard and ledger.
Its steps are then called again with the very images that the pass gave them: the models alone. Both are done
in turns, in one process.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmtk_capfilt.ledger import schema, to_table
from mmtk_capfilt.named_steps import NamedStep
from mmtk_capfilt.output import write_shard as write_cleaned
from mmtk_capfilt.part_pass import PartPass
from mmtk_capfilt.parts import WEB_DATASET, FinishedParts, Part
from mmtk_capfilt.steps.caption import Caption
from mmtk_capfilt.steps.matching import MatchFilter

from benchmarks.arguments import positive
from benchmarks.captioning import cores
from benchmarks.data_pipeline import write_shard
from benchmarks.step_sides import Inputs, build_learner
from benchmarks.step_sizes import FULL, TINY
from mmtk.api import WEIGHTS, ImageCandidates
from mmtk.data.configs import EvaluationDataConfig
from mmtk.data.images.transforms import BlipTest
from mmtk.data.pipeline import Built
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.data.texts import BlipCaption
from mmtk.registry import Registry
from mmtk.types import Decoding

WIDTH, HEIGHT = 640, 480
FINETUNED = 384  # edge of the pictures that captioner and filter see
AIM = 0.10  # how much longer than the models alone the pass may take


class Watched:
    """A step that keeps what it is given and how long it takes."""

    def __init__(self, step: Any) -> None:
        self._step = step
        self.gives = getattr(step, "gives", ())
        self.rules = getattr(step, "rules", ())
        self.fingerprint = step.fingerprint
        self.given: list[Sequence[ImageCandidates]] = []
        self.seconds = 0.0

    def __call__(self, images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        self.given.append(images)
        started = time.perf_counter()
        done: Sequence[ImageCandidates] = self._step(images)
        self.seconds += time.perf_counter() - started
        return done

    def alone(self) -> float:
        """Do the same once more and return the seconds it takes."""
        started = time.perf_counter()
        for images in self.given:
            self._step(images)
        return time.perf_counter() - started


@dataclass(frozen=True)
class Turn:
    """Seconds of one pass, of its steps within it and of these alone, by name; and what it came to."""

    whole: float
    within: dict[str, float]
    alone: dict[str, float]
    images: int
    pairs: int

    @property
    def excess(self) -> float:
        """How much longer than the models alone the pass takes, as a share of their time."""
        return self.whole / sum(self.alone.values()) - 1


def build_steps(full: bool, batch: int, folder: Path) -> tuple[dict[str, Any], int]:
    """Captioner and filter of one learner with random weights, and the edge of their pictures.

    Steps ask for a checkpoint when they are built; ``folder`` gets one that nothing reads.
    """
    checkpoint = folder / "random"
    checkpoint.mkdir()
    (checkpoint / WEIGHTS).touch()
    inputs = Inputs(replace(FULL, image_size=FINETUNED, batch=2, queue=2) if full else TINY, "cpu")
    learner = build_learner(inputs).eval()
    shared: dict[str, Any] = {
        "checkpoint": checkpoint,
        "image_transform": None,
        "device": "cpu",
        "registry": Registry(),
        "batch_size": batch,
    }
    decoding = Decoding(method="nucleus", min_length=20, max_length=20) if full else Decoding(max_length=6)
    steps = {
        "caption": Caption(decoding=decoding, captions=1, **shared),
        "itm_filter": MatchFilter(threshold=0.5, synthetic_threshold=None, **shared),
    }
    for step in steps.values():
        step.learner = learner
        step.fingerprint = "random weights"
    return steps, inputs.sizes.image_size


def measure(folder: Path, options: argparse.Namespace) -> list[Turn]:
    """Run the pass and its steps alone, in turns, after one of each that is not measured."""
    write_shard(folder / "web.tar", options.images, WIDTH, HEIGHT)
    reader = WebDatasetReader(folder / "web.tar")
    steps, edge = build_steps(options.size == "full", options.batch, folder)
    data = EvaluationDataConfig(
        reader=Built(reader),
        image_transform=Built(BlipTest(size=edge)),
        text_transform=Built(BlipCaption()),
        batch_size=options.batch,
        workers=1,
    )
    turns = [_turn(folder, reader, data, steps) for _ in range(options.repeats + 1)]
    return turns[1:]


def _turn(folder: Path, reader: WebDatasetReader, data: EvaluationDataConfig, steps: dict[str, Any]) -> Turn:
    watched = {name: Watched(step) for name, step in steps.items()}
    named = [NamedStep(name, step) for name, step in watched.items()]
    run = PartPass({WEB_DATASET: reader}, data, named, {}, seed=0)
    columns = schema([score for one in named for score in one.gives], [one.rules for one in named])
    started = time.perf_counter()
    samples, rows = run(Part(0, WEB_DATASET, 0, range(len(reader))))
    written = write_cleaned(folder / "dataset" / "cleaned.tar", samples, "webdataset")
    FinishedParts(folder / "parts").write(0, to_table(rows, columns), written)
    whole = time.perf_counter() - started
    pairs = sum("itm_probability" in row.scores for row in rows)
    alone = {name: step.alone() for name, step in watched.items()}
    return Turn(whole, {name: step.seconds for name, step in watched.items()}, alone, len(reader), pairs)


def table(turns: Sequence[Turn], command: str) -> str:
    """Write the medians as Markdown."""
    whole = statistics.median(turn.whole for turn in turns)
    lines = [
        "| | seconds | share of the pass | alone, seconds | a second |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    counts = {"caption": (turns[0].images, "captions"), "itm_filter": (turns[0].pairs, "pairs")}
    inside = 0.0
    for name, (count, what) in counts.items():
        within = statistics.median(turn.within[name] for turn in turns)
        alone = statistics.median(turn.alone[name] for turn in turns)
        inside += within
        rate = f"{count / within:.2f} {what}"
        lines.append(f"| `{name}` | {within:.2f} | {within / whole:.1%} | {alone:.2f} | {rate} |")
    rest = whole - inside
    lines.append(f"| reading, decoding, writing and waiting | {rest:.2f} | {rest / whole:.1%} | | |")
    lines.append(f"| the pass | {whole:.2f} | | | {turns[0].images / whole:.2f} images |")
    excess = statistics.median(turn.excess for turn in turns)
    note = (
        f"The pass takes {excess:+.1%} of the models' own time (aim: {AIM:+.0%}). Made by `{command}` "
        f"with torch {version('torch')}, float32, {torch.get_num_threads()} threads on {cores()} cores."
    )
    return "\n".join([*lines, "", note])


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="of the models")
    parser.add_argument("--images", type=positive, default=16, metavar="N", help="pictures of the pass")
    parser.add_argument("--batch", type=positive, default=8, metavar="N", help="pictures at a time")
    parser.add_argument("--repeats", type=positive, default=3, metavar="N", help="timed turns")
    parser.add_argument("--threads", type=positive, default=cores(), metavar="N", help="torch's threads")
    return parser


def main(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        turns = measure(Path(folder), options)
    if not options.json:
        print(table(turns, shlex.join(["python", "-m", "benchmarks.capfilt", *argv])))
        return 0
    whole, alone = (
        statistics.median(values)
        for values in ([turn.whole for turn in turns], [sum(turn.alone.values()) for turn in turns])
    )
    images = turns[0].images
    result = {
        "name": "capfilt_pass",
        "value": images / whole,
        "unit": "images/s",
        "baseline": images / alone,
        "ratio": alone / whole,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
