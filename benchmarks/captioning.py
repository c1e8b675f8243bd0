"""How fast captions are written, beside transformers' BLIP with the same random weights.

Both sides encode the same pictures and write captions of the same length, in turns and in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor
from transformers import BlipForConditionalGeneration

from benchmarks.arguments import positive
from benchmarks.transformers_blip import Sizes, learner, take_weights, transformers_captioner, written
from mmtk.engine.learner import Learner
from mmtk.types import Decoding

PROMPT = "a picture of"
STD = 0.02  # of the random weights
TOP_P = 0.9
HEADLINE = "beam"


@dataclass(frozen=True)
class Timed:
    """One way of writing: medians in seconds for a batch, and how many captions are the same on both sides.

    ``same`` is None where the two sides draw different random numbers, and where nothing is written.
    """

    name: str
    ours: float
    theirs: float
    same: int | None = None

    @property
    def ratio(self) -> float:
        """How many times as fast as transformers."""
        return self.theirs / self.ours


@dataclass(frozen=True)
class Sides:
    """The two captioners and what they are asked for."""

    ours: Learner
    theirs: BlipForConditionalGeneration
    images: Tensor  # (B, 3, H, W)
    max_length: int

    def write(self, decoding: Decoding) -> list[list[int]]:
        """Our captions as token ids, the prompt with them."""
        model = self.ours.model
        with torch.inference_mode():
            encoded = model.encode_images(self.images)
            return self.ours.heads["lm"].generate_ids(encoded, decoding, torch.Generator().manual_seed(0))

    def write_theirs(self, decoding: Decoding) -> list[list[int]]:
        """transformers' captions, likewise."""
        tokenizer = self.ours.model.tokenizer
        prompt, _ = tokenizer([decoding.prompt])
        sampling = decoding.method == "nucleus"
        with torch.inference_mode():
            rows = self.theirs.generate(
                pixel_values=self.images,
                input_ids=prompt.repeat(len(self.images), 1),
                num_beams=1 if sampling else decoding.beams,
                do_sample=sampling,
                min_length=decoding.min_length,
                max_length=decoding.max_length,
                **({"top_p": decoding.top_p, "top_k": 0} if sampling else {}),
            )
        return written(rows, tokenizer.end_id, prompt.shape[1] - 1)


def make_sides(sizes: Sizes, batch: int, max_length: int) -> Sides:
    theirs = transformers_captioner(sizes, STD)
    ours = learner(sizes).eval()
    take_weights(ours, theirs)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, sizes.image_size, sizes.image_size, generator=generator)
    return Sides(ours, theirs, images, max_length)


def measure(sides: Sides, beams: int, repeats: int) -> list[Timed]:
    """Time greedy writing, beam search, nucleus sampling and the image encoder alone."""
    lengths = {"prompt": PROMPT, "min_length": sides.max_length, "max_length": sides.max_length}
    ways = {
        "greedy": Decoding(beams=1, **lengths),
        HEADLINE: Decoding(beams=beams, **lengths),
        "nucleus": Decoding(method="nucleus", top_p=TOP_P, **lengths),
    }
    found = []
    for name, decoding in ways.items():
        ours, theirs, pair = in_turns(
            lambda decoding=decoding: sides.write(decoding),
            lambda decoding=decoding: sides.write_theirs(decoding),
            repeats,
        )
        same = sum(one == other for one, other in zip(*pair, strict=True))
        found.append(Timed(name, ours, theirs, None if name == "nucleus" else same))
    with torch.inference_mode():
        ours, theirs, _ = in_turns(
            lambda: sides.ours.model.image_encoder(sides.images),
            lambda: sides.theirs.vision_model(sides.images),
            repeats,
        )
    return [*found, Timed("image encoder alone", ours, theirs)]


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> tuple[float, float, tuple]:
    """Run both once unmeasured, then ``repeats`` times in turns; return the medians and the first results."""
    first = ours(), theirs()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, seconds in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1]), first


def table(results: Sequence[Timed], batch: int, command: str) -> str:
    """Write the results as Markdown."""
    lines = [
        "| writing | mmtk, images/s | transformers, images/s | times as fast | same captions |",
        "| --- | --- | --- | --- | --- |",
    ]
    for timed in results:
        same = "" if timed.same is None else f"{timed.same} of {batch}"
        speeds = f"{batch / timed.ours:.3f} | {batch / timed.theirs:.3f} | {timed.ratio:.2f}"
        lines.append(f"| {timed.name} | {speeds} | {same} |")
    machine = (
        f"{torch.get_num_threads()} threads on {cores()} cores ({torch.backends.cpu.get_cpu_capability()})"
    )
    note = (
        f"Made by `{command}` with torch {version('torch')} and transformers {version('transformers')}, "
        f"float32, {machine}."
    )
    return "\n".join([*lines, "", note])


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_json(results: Sequence[Timed], batch: int) -> str:
    """The beam search's speed as one JSON object."""
    (timed,) = (timed for timed in results if timed.name == HEADLINE)
    return json.dumps(
        {
            "name": "captioning_beam_search",
            "value": batch / timed.ours,
            "unit": "images/s",
            "baseline": batch / timed.theirs,
            "ratio": timed.ratio,
        }
    )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    sizes = Sizes()
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--repeats", type=positive, default=5, metavar="N", help="timed turns of each side")
    parser.add_argument("--threads", type=positive, default=cores(), metavar="N", help="torch's threads")
    parser.add_argument("--batch", type=positive, default=4, metavar="N", help="pictures")
    parser.add_argument("--beams", type=positive, default=3, metavar="N", help="beams of the beam search")
    parser.add_argument("--max-length", type=positive, default=20, metavar="N", help="tokens, prompt and all")
    for name in ("image_size", "width", "depth", "heads", "vocab_size"):
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=positive, default=getattr(sizes, name), metavar="N", help="of BLIP")
    return parser


def main(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    sizes = Sizes(
        image_size=options.image_size,
        width=options.width,
        depth=options.depth,
        heads=options.heads,
        vocab_size=options.vocab_size,
    )
    sides = make_sides(sizes, options.batch, options.max_length)
    results = measure(sides, options.beams, options.repeats)
    command = shlex.join(["python", "-m", "benchmarks.captioning", *argv])
    print(as_json(results, options.batch) if options.json else table(results, options.batch, command))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
