"""Whether the strategies train alike, and what each rank holds under them, beside what formulas say.

Every strategy that can run here trains the same BLIP on the same batches, in processes that torchrun starts;
`single` does it in one process and is what the others must agree with.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.strategy_rank import PARTS, SIZES, Counts, RankFigures
from mmtk.plugins import load_plugins

ROOT = Path(__file__).parents[1]
MIB = 2**20
TOLERANCE = 1e-4
ALONE, USUAL, SHARDED = "single", "ddp", "fsdp2"
# Which parts a strategy keeps in shards; the queue is whole on every rank.
IN_SHARDS: Mapping[str, Sequence[str]] = {
    ALONE: (),
    USUAL: (),
    SHARDED: ("parameters", "gradients", "optimizer", "average"),
    "fairscale_oss": ("optimizer",),
    "fairscale_sdp": ("gradients", "optimizer"),
    "fairscale_fsdp": ("parameters", "gradients", "optimizer", "average"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one strategy: the figures of its ranks, or why it can't run here."""

    strategy: str
    ranks: Sequence[RankFigures] = ()
    refused: str = ""

    @property
    def median(self) -> float:
        """Seconds a step."""
        return self.ranks[0].median

    @property
    def cpu_median(self) -> float:
        """Seconds of processor time a step, of all ranks together."""
        return sum(statistics.median(one.cpu_seconds) for one in self.ranks)

    @property
    def most_held(self) -> int:
        """Bytes of the tensors on the rank that holds most."""
        return max(sum(one.held.values()) for one in self.ranks)


def formula(strategy: str, counts: Counts, ranks: int) -> dict[str, float]:
    """Bytes on a rank: float32 parameters, gradients, AdamW's two moments, the average, and queue."""
    whole = {
        "parameters": 4 * counts.parameters,
        "gradients": 4 * counts.parameters,
        "optimizer": 8 * counts.parameters,
        "average": 4 * counts.average,
        "queue": 2 * counts.queue * (4 * counts.embed_dim + 8),
    }
    shards = IN_SHARDS[strategy]
    return {part: size / ranks if part in shards else size for part, size in whole.items()}


def run(strategy: str, ranks: int, sizes: str, steps: int) -> Outcome:
    """Train under a strategy in processes of their own. Raises CalledProcessError when they fail."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    environment["PYTHONWARNINGS"] = "ignore"
    with tempfile.TemporaryDirectory() as folder:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        training = ["-m", "benchmarks.strategy_rank", strategy, folder]
        subprocess.run(
            [*torchrun, f"--nproc-per-node={ranks}", *training, f"--sizes={sizes}", f"--steps={steps}"],
            check=True,
            cwd=ROOT,
            env=environment,
            stdout=sys.stderr,
        )
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]
    if "refused" in found[0]:
        return Outcome(strategy, refused=found[0]["refused"])
    return Outcome(strategy, [RankFigures.from_json(each) for each in found])


def all_strategies() -> list[str]:
    """The strategies that are installed and whose memory a formula is known for."""
    installed = {one.component.name for one in load_plugins().registry.of_kind("strategy")}
    return [name for name in IN_SHARDS if name in installed]


def greatest_difference(found: RankFigures, expected: RankFigures, *, norms: bool) -> float:
    """The greatest relative difference of a gradient norm, or else of a loss, over all steps."""
    pairs = zip(found.figures, expected.figures, strict=True)
    return max(
        abs(one[name] - other[name]) / abs(other[name])
        for one, other in pairs
        for name in other
        if (name == "gradient_norm") == norms
    )


def parity_table(outcomes: Mapping[str, Outcome]) -> str:
    alone, usual = outcomes[ALONE].ranks[0], outcomes[USUAL]
    lines = [
        "| strategy | ranks | loss differs by | gradient norm by | step / ddp's | CPU time / ddp's |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in (one for one in outcomes.values() if one.ranks):
        loss, norm = (greatest_difference(outcome.ranks[0], alone, norms=norms) for norms in (False, True))
        differences = "| |" if outcome.strategy == ALONE else f"| {loss:.1e} | {norm:.1e}"
        lines.append(
            f"| `{outcome.strategy}` | {len(outcome.ranks)} {differences} "
            f"| {outcome.median / usual.median:.2f} | {outcome.cpu_median / usual.cpu_median:.2f} |"
        )
    return "\n".join(lines)


def memory_table(outcomes: Mapping[str, Outcome], ranks: int) -> str:
    counts = outcomes[ALONE].ranks[0].counts
    lines = [
        f"| MiB | {' | '.join(PARTS)} | sum | peak of building | peak of training |",
        f"| --- |{' ---: |' * (len(PARTS) + 3)}",
    ]
    for strategy, outcome in outcomes.items():
        for number, one in enumerate(outcome.ranks):
            peaks = (one.building_bytes, one.training_bytes)
            shown = " | ".join("" if peak is None else f"{peak / MIB:.0f}" for peak in peaks)
            lines.append(f"| `{strategy}`, rank {number} | {_parts(one.held)} | {shown} |")
        expected = formula(strategy, counts, 1 if strategy == ALONE else ranks)
        lines.append(f"| `{strategy}`, by formula | {_parts(expected)} | | |")
    return "\n".join(lines)


def _parts(held: Mapping[str, float]) -> str:
    return " | ".join(f"{held[part] / MIB:.1f}" for part in PARTS) + f" | {sum(held.values()) / MIB:.1f}"


def summary(outcomes: Mapping[str, Outcome], ranks: int) -> dict[str, object]:
    """One object for machines: what a rank holds under fsdp2, beside ddp."""
    alone = outcomes[ALONE].ranks[0]
    value, baseline = outcomes[SHARDED].most_held, outcomes[USUAL].most_held
    strategies: dict[str, object] = {}
    for strategy, outcome in outcomes.items():
        expected = formula(strategy, alone.counts, 1 if strategy == ALONE else ranks)
        strategies[strategy] = {"formula": expected, "refused": outcome.refused}
        if outcome.ranks:
            strategies[strategy] |= {
                "ranks": [asdict(one) for one in outcome.ranks],
                "loss_difference": greatest_difference(outcome.ranks[0], alone, norms=False),
                "norm_difference": greatest_difference(outcome.ranks[0], alone, norms=True),
            }
    return {
        "name": "strategies",
        "value": value,
        "unit": "bytes",
        "baseline": baseline,
        "ratio": value / baseline,
        "ranks": ranks,
        "strategies": strategies,
    }


def report(outcomes: Mapping[str, Outcome], ranks: int, command: str) -> str:
    counts = outcomes[ALONE].ranks[0].counts
    refused = [f"- {one.refused}" for one in outcomes.values() if one.refused]
    return "\n".join(
        [
            parity_table(outcomes),
            "",
            memory_table(outcomes, ranks),
            "",
            *refused,
            "",
            f"Made by `{command}` with torch {torch.__version__}, gloo, one thread a rank: "
            f"{counts.parameters:,} parameters, {counts.average:,} of them in the average, a queue of "
            f"{counts.queue:,}; {len(outcomes[ALONE].ranks[0].figures)} steps.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns 1 when a strategy trains otherwise than one process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(given)
    outcomes = {
        strategy: run(strategy, 1 if strategy == ALONE else options.ranks, options.sizes, options.steps)
        for strategy in all_strategies()
    }
    if options.json:
        print(json.dumps(summary(outcomes, options.ranks)))
    else:
        print(report(outcomes, options.ranks, shlex.join(["python", "-m", "benchmarks.strategies", *given])))
    alone = outcomes[ALONE].ranks[0]
    differences = [
        greatest_difference(one.ranks[0], alone, norms=norms)
        for one in outcomes.values()
        for norms in (False, True)
        if one.ranks
    ]
    return int(max(differences) > TOLERANCE)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies", description=__doc__)
    parser.add_argument("--ranks", type=int, default=2, help="processes, as many as divide the batch")
    parser.add_argument("--sizes", choices=SIZES, default="middle", help="of the model (default: middle)")
    parser.add_argument("--steps", type=int, default=8, help="of training (default: 8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    batch = SIZES[options.sizes].batch
    if options.ranks < 2 or batch % options.ranks:
        parser.error(f"--ranks must be 2 or more and divide the batch of {batch}, not {options.ranks}")
    if options.steps < 2:
        parser.error("--steps must be 2 or more: the first one is not timed")
    return options


if __name__ == "__main__":
    sys.exit(main())
