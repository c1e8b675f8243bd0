"""What bootstrapped pre-training costs for a number of pairs, worked out from measured figures.

ViT-B/16 at 224 pixels; captioner and filter see 384. Figures are measured in this run or read from a file
that `--measure` has written. A device that isn't here is an assumption: its peak rate and the share of it
that is reached.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.scaling_figures import Figures, measure

HOUR, GB, TERA = 3600, 1e9, 1e12
PAIRS = (100_000, 1_000_000, 14_000_000, 100_000_000, 129_000_000)


@dataclass(frozen=True)
class Rates:
    """What one device does in a second: pairs trained on, pictures captioned, pictures filtered."""

    name: str
    train: float
    caption: float
    score: float


@dataclass(frozen=True)
class Cost:
    """What a number of pairs costs.

    Attributes:
        pairs: pictures with a web text each.
        pretrain: device hours of one pre-training, by device.
        bootstrap: of captioning and filtering once, by device.
        whole: of both, with a second pre-training on as many pairs, by device.
        storage: bytes of the shards.
        shards: their number.
        index_file: bytes of the index files.
        index_memory: bytes of an opened reader, in each process.
        first_open: seconds to open the shards without index files, files cached.
        start: seconds to open them with index files.
        resume: seconds to open them and to check and load a training state.
    """

    pairs: int
    pretrain: dict[str, float]
    bootstrap: dict[str, float]
    whole: dict[str, float]
    storage: float
    shards: int
    index_file: float
    index_memory: float
    first_open: float
    start: float
    resume: float


def measured_rates(figures: Figures) -> Rates:
    return Rates("CPU", figures.train_rate, figures.caption_rate, figures.score_rate)


def assumed_rates(figures: Figures, options: argparse.Namespace) -> Rates:
    """Rates of a device by its peak and the shares of it that are reached."""
    train, generate = (options.tflops * TERA * share for share in (options.utilisation, options.generation))
    return Rates(
        options.device,
        train / figures.train_flops,
        generate / figures.caption_flops,
        train / figures.score_flops,
    )


def cost(pairs: int, figures: Figures, devices: Sequence[Rates], options: argparse.Namespace) -> Cost:
    """Work out what ``pairs`` pairs cost."""
    pretrain = {one.name: pairs * options.epochs / one.train / HOUR for one in devices}
    bootstrap = {one.name: pairs * (1 / one.caption + 1 / one.score) / HOUR for one in devices}
    start = pairs * figures.open_seconds
    return Cost(
        pairs=pairs,
        pretrain=pretrain,
        bootstrap=bootstrap,
        whole={name: 2 * pretrain[name] + bootstrap[name] for name in pretrain},
        storage=pairs * (options.image_bytes + figures.overhead),
        shards=-(-pairs // options.samples_per_shard),
        index_file=pairs * figures.index_file,
        index_memory=pairs * figures.index_memory,
        first_open=pairs * figures.headers_seconds,
        start=start,
        resume=start + figures.state_bytes / figures.load_rate,
    )


def hours_table(costs: Sequence[Cost]) -> str:
    """Device hours, in which the bootstrapped job pre-trains twice."""
    names = list(costs[0].pretrain)
    each = ("pre-training", "CapFilt", "whole job")
    rows = [
        [f"{one.pairs:,}"]
        + [_short(hours[name]) for name in names for hours in (one.pretrain, one.bootstrap, one.whole)]
        for one in costs
    ]
    return _table(["pairs", *(f"{what}, {name} hours" for name in names for what in each)], rows)


def data_table(costs: Sequence[Cost]) -> str:
    """What the data takes, and opening it."""
    heads = ["pairs", "shards", "storage, GB", "index files, MB", "reader, MB"]
    rows = [
        [f"{one.pairs:,}", f"{one.shards:,}", _short(one.storage / GB)]
        + [_short(size / 1e6) for size in (one.index_file, one.index_memory)]
        + [_short(seconds) for seconds in (one.first_open, one.start, one.resume)]
        for one in costs
    ]
    return _table([*heads, "first opening, s", "start, s", "resume, s"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], f"|{' ---: |' * len(heads)}", *lines[1:]])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def figures_table(figures: Figures) -> str:
    rows = [
        ("GFLOP of a pair in pre-training", f"{figures.train_flops / 1e9:.1f}"),
        ("GFLOP of a caption", f"{figures.caption_flops / 1e9:.1f}"),
        ("GFLOP of filtering a picture with two texts", f"{figures.score_flops / 1e9:.1f}"),
        ("pairs a second in pre-training, CPU", f"{figures.train_rate:.3f}"),
        ("captions a second, CPU", f"{figures.caption_rate:.3f}"),
        ("pictures filtered a second, CPU", f"{figures.score_rate:.3f}"),
        (f"GFLOP/s of matrix products, {figures.threads} threads", f"{figures.gemm / 1e9:.1f}"),
        ("its share that pre-training reaches", f"{_utilisation(figures):.2f}"),
        ("parameters, millions", f"{figures.parameters / 1e6:.1f}"),
        ("of the average, millions", f"{figures.average / 1e6:.1f}"),
        ("training state, GB", f"{figures.state_bytes / GB:.2f}"),
        ("checkpoint, GB", f"{4 * figures.parameters / GB:.2f}"),
        ("size of a saved state beside its formula", f"{figures.state_error:+.2%}"),
        ("saving a state, MB/s", f"{figures.save_rate / 1e6:.0f}"),
        ("checking and loading a state, MB/s", f"{figures.load_rate / 1e6:.0f}"),
        ("bytes of an emoji sample in a shard", f"{figures.emoji:.0f}"),
        ("of these beside its picture", f"{figures.overhead:.0f}"),
        ("bytes of a sample in index files", f"{figures.index_file:.1f}"),
        ("bytes of a sample in an opened reader", f"{figures.index_memory:.1f}"),
    ]
    body = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"| measured | |\n| --- | ---: |\n{body}"


def _utilisation(figures: Figures) -> float:
    return figures.train_flops * figures.train_rate / figures.gemm


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    if options.figures is None:
        figures = measure(options.sizes)
    else:
        figures = Figures(**json.loads(options.figures.read_text("utf-8")))
    if options.measure is not None:
        options.measure.write_text(json.dumps(asdict(figures), indent=1) + "\n", "utf-8")
    devices = [measured_rates(figures), assumed_rates(figures, options)]
    costs = [cost(pairs, figures, devices, options) for pairs in options.pairs]
    if options.json:
        print(json.dumps({"figures": asdict(figures), "costs": [asdict(one) for one in costs]}))
        return 0
    print(figures_table(figures), hours_table(costs), data_table(costs), sep="\n\n")
    print(
        f"\n{_assumptions(options)}\nMade by `{shlex.join(['python', '-m', 'benchmarks.scaling', *given])}`."
    )
    return 0


def _assumptions(options: argparse.Namespace) -> str:
    return (
        f"Assumed, not measured: {options.device} does {options.tflops:g} TFLOP/s at most, of which training "
        f"and filtering reach {options.utilisation:g} and captioning {options.generation:g}; a picture has "
        f"{options.image_bytes:,} bytes. {options.epochs} epochs; {options.samples_per_shard:,} samples in a "
        "shard."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    add = parser.add_argument
    add("--pairs", type=int, nargs="+", default=PAIRS, metavar="N", help="numbers of pairs")
    add("--epochs", type=int, default=20, help="of pre-training (default: 20)")
    add("--device", default="H100", help="name of the assumed device (default: H100)")
    add("--tflops", type=float, default=989.0, help="its peak (default: 989, NVIDIA's for dense bfloat16)")
    add("--utilisation", type=float, default=0.3, help="share that training reaches (assumed: 0.3)")
    add("--generation", type=float, default=0.05, help="share that captioning reaches (assumed: 0.05)")
    add("--image-bytes", type=int, default=25_000, help="of a JPEG of 256 pixels (assumed: 25000)")
    add("--samples-per-shard", type=int, default=10_000, help="(default: 10000)")
    add("--sizes", choices=("full", "tiny"), default="full", help="of the measured models (default: full)")
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--measure", type=Path, metavar="FILE", help="write the measured figures there")
    files.add_argument("--figures", type=Path, metavar="FILE", help="read them instead of measuring")
    add("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
