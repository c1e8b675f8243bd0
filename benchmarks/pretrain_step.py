"""How fast BLIP's full pre-training step is, and how much memory it takes, beside a plainly written one.

Each side runs in a process of its own, on the same weights, pairs and negatives: their losses must agree. The
timed steps alternate, so that what else the machine does meets both sides alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.memory import peak_memory, settled_memory
from benchmarks.step_sides import Inputs, Ours, Plain
from benchmarks.step_sizes import SIZES, Sizes

ROOT = Path(__file__).parents[1]
SIDES = ("mmtk", "reference")
TOLERANCE = 1e-4
AIM_SPEED, AIM_MEMORY = 2.0, 2 / 3
MIB, GIGA = 2**20, 1e9
UNEQUAL = 1
DONE = "done"


@dataclass(frozen=True)
class Measured:
    """One side.

    Attributes:
        losses: of the first two steps, by head; the second shows that gradients and averages agree as well.
        seconds: of each timed step.
        cpu_seconds: likewise, of all threads together: what other programs take is left out.
        step_bytes: peak memory above what weights, moments, average and queue take; None where unknown.
        peak_bytes: peak memory of the whole process; None where unknown.
        flops: of one step, as torch counts them.
        gemm_flops: floating-point operations a second of large matrix products, in the same process.
    """

    losses: Sequence[Mapping[str, float]]
    seconds: Sequence[float]
    cpu_seconds: Sequence[float]
    step_bytes: int | None
    peak_bytes: int | None
    flops: int
    gemm_flops: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def measure(side: str, sizes: Sizes, *, device: str) -> None:
    """Measure one side in this process: a timed step for each line of the input, then print the figures."""
    inputs = Inputs(sizes, device)
    trained = Ours(inputs) if side == "mmtk" else Plain(inputs)
    losses = [trained.step(0)]
    trained.optimizer.zero_grad(set_to_none=True)
    before = settled_memory(device)
    losses.append(trained.step(1))
    peak = peak_memory(device)
    gemm, seconds, cpu_seconds = [_gemm_rate(device)], [], []
    step = 2
    print(DONE, flush=True)
    for _ in sys.stdin:
        started, cpu_started = time.perf_counter(), time.process_time()
        trained.step(step)
        _wait(device)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
        gemm.append(_gemm_rate(device))
        step += 1
        print(DONE, flush=True)
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        trained.step(step)
    step_bytes = None if peak is None or before is None else peak - before
    flops = counter.get_total_flops()
    print(json.dumps(asdict(Measured(losses, seconds, cpu_seconds, step_bytes, peak, flops, max(gemm)))))


def _attention(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    gradient: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch's counter has no formula for the attention kernels of the CPU.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def _gemm_rate(device: str, repeats: int = 5) -> float:
    """The best rate of a product of the size of ViT-B's feed-forward block, in operations a second."""
    tokens, width, hidden = 1576, 768, 3072
    left, right = torch.randn(tokens, width, device=device), torch.randn(width, hidden, device=device)
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        started = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * tokens * width * hidden / best


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


class Side:
    """One side in a process of its own. Raises CalledProcessError where that fails."""

    def __init__(self, side: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "benchmarks.pretrain_step", "--side", side, *arguments]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._await_done()

    def step(self) -> None:
        """Have it do a timed step."""
        print(file=self._process.stdin, flush=True)
        self._await_done()

    def end(self) -> Measured:
        """What it measured."""
        output, _ = self._process.communicate()
        self._check()
        return Measured(**json.loads(output))

    def _await_done(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != DONE:
            self._process.wait()
            self._check()

    def _check(self) -> None:
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)


def measure_both(arguments: Sequence[str], steps: int) -> list[Measured]:
    """Measure both sides, step by step in turn."""
    sides = [Side(side, arguments) for side in SIDES]
    for _ in range(steps):
        for side in sides:
            side.step()
    return [side.end() for side in sides]


def greatest_difference(ours: Measured, reference: Measured) -> float:
    """Between the losses of the first two steps."""
    pairs = zip(ours.losses, reference.losses, strict=True)
    return max(abs(one[name] - other[name]) for one, other in pairs for name in other)


def summary(ours: Measured, reference: Measured, batch: int) -> dict[str, object]:
    """One object for machines: images a second of mmtk's step, beside the reference's."""
    value, baseline = batch / ours.median, batch / reference.median
    memory = {
        "step_memory_bytes": [ours.step_bytes, reference.step_bytes],
        "memory_ratio": None,
    }
    if ours.step_bytes and reference.step_bytes:
        memory["memory_ratio"] = ours.step_bytes / reference.step_bytes
    return {
        "name": "pretrain_step",
        "value": value,
        "unit": "images/s",
        "baseline": baseline,
        "ratio": value / baseline,
        "loss_difference": greatest_difference(ours, reference),
        **memory,
    }


def table(ours: Measured, reference: Measured, batch: int) -> str:
    """The figures of both sides, their ratios and the aims."""

    def row(name: str, ours_value: float, reference_value: float, digits: int) -> str:
        ratio = ours_value / reference_value
        return f"| {name} | {ours_value:.{digits}f} | {reference_value:.{digits}f} | {ratio:.2f} |"

    rows = [
        "| | mmtk | reference | mmtk / reference |",
        "| --- | ---: | ---: | ---: |",
        row("images/s", batch / ours.median, batch / reference.median, 3),
        row("seconds a step (median)", ours.median, reference.median, 2),
        row("seconds a step (least)", min(ours.seconds), min(reference.seconds), 2),
        row("CPU seconds a step (least)", min(ours.cpu_seconds), min(reference.cpu_seconds), 2),
    ]
    for name, field in (("peak memory of a step, MiB", "step_bytes"), ("peak memory, MiB", "peak_bytes")):
        values = [getattr(side, field) for side in (ours, reference)]
        if all(values):
            rows.append(row(name, values[0] / MIB, values[1] / MIB, 0))
    achieved = [side.flops / side.median / GIGA for side in (ours, reference)]
    rows += [
        row("GFLOP a step", ours.flops / GIGA, reference.flops / GIGA, 1),
        row("GFLOP/s achieved", achieved[0], achieved[1], 1),
        row("GFLOP/s of matrix products", ours.gemm_flops / GIGA, reference.gemm_flops / GIGA, 1),
    ]
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns 1 when the losses of the two sides differ."""
    options = _parser().parse_args(arguments)
    sizes = SIZES[options.sizes]
    sizes = sizes if options.batch is None else replace(sizes, batch=options.batch)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.side is not None:
        measure(options.side, sizes, device=options.device)
        return 0
    passed_on = list(sys.argv[1:] if arguments is None else arguments)
    ours, reference = measure_both(passed_on, options.steps)
    equal = greatest_difference(ours, reference) <= TOLERANCE
    if options.json:
        print(json.dumps(summary(ours, reference, sizes.batch)))
    else:
        _print(ours, reference, sizes.batch, options.device)
    return 0 if equal else UNEQUAL


def _print(ours: Measured, reference: Measured, batch: int, device: str) -> None:
    machine = torch.cuda.get_device_name() if device != "cpu" else f"{torch.get_num_threads()} threads"
    print(f"batch {batch}, {device} ({machine}), torch {torch.__version__}\n")
    print(table(ours, reference, batch))
    for name in reference.losses[0]:
        values = [f"{side.losses[0][name]:.6f} {side.losses[1][name]:.6f}" for side in (ours, reference)]
        print(f"\nlosses of two steps, {name}: mmtk {values[0]}, reference {values[1]}", end="")
    difference = greatest_difference(ours, reference)
    print(f"\ngreatest difference {difference:.1e}, allowed {TOLERANCE:.0e}")
    speed = reference.median / ours.median
    print(f"aim of {AIM_SPEED:g} times the speed: {'met' if speed >= AIM_SPEED else 'missed'} ({speed:.2f})")
    if ours.step_bytes and reference.step_bytes:
        memory = ours.step_bytes / reference.step_bytes
        met = "met" if memory <= AIM_MEMORY else "missed"
        print(f"aim of {AIM_MEMORY:.2f} of the step's memory: {met} ({memory:.2f})")


def at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"expected a number of at least {least}, not '{text}'")
        return number

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pretrain_step", description=__doc__)
    parser.add_argument("--sizes", choices=SIZES, default="full", help="of models and batch (default: full)")
    parser.add_argument("--batch", type=at_least(2), help="pairs in a step, instead of what the sizes say")
    parser.add_argument("--steps", type=at_least(1), default=5, help="timed steps of each side (default: 5)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--side", choices=SIDES, help="measure one side in this process, a step for each line of the input"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
