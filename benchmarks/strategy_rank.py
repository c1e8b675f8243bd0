"""What each process of benchmarks/strategies.py does: train a BLIP under one strategy and count its memory.

torchrun starts it; every rank writes its figures to a file of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.losses import CrossEntropy
from mmtk_momentum.ema import MomentumEncoder
from mmtk_momentum.negatives import Hardest
from torch import Tensor

from benchmarks.memory import peak_memory, settled_memory
from benchmarks.step_sides import Inputs, build_learner
from benchmarks.step_sizes import TINY, Sizes
from mmtk.distributed.collectives import local_part, rank, world_size
from mmtk.distributed.group import process_group
from mmtk.distributed.spread import Spread, Workload
from mmtk.engine.configs import FLOAT32
from mmtk.engine.learner import Learner
from mmtk.engine.objective import Objective
from mmtk.engine.optimizers import AdamW
from mmtk.engine.position import Course
from mmtk.engine.schedules import Constant
from mmtk.engine.trainer import Trainer
from mmtk.errors import StageError
from mmtk.plugins import load_plugins
from mmtk.types import Batch

# Weights, moments, average and queue outweigh the activations of eight small pictures.
MIDDLE = Sizes(image_size=64, width=384, depth=6, heads=6, vocabulary=8000, max_positions=64)
SIZES = {"middle": MIDDLE, "tiny": TINY}
# The keys' biases have no gradient but rounding errors, which a smaller eps would blow up.
OPTIMIZER = AdamW(lr=1e-4, eps=1e-4)
PARTS = ("parameters", "gradients", "optimizer", "average", "queue")


@dataclass(frozen=True)
class Counts:
    """How large what is trained is, before it is spread.

    Attributes:
        parameters: numbers that are trained, each counted once.
        average: numbers of the momentum encoder's slow copy.
        queue: pairs in its queue.
        embed_dim: numbers of a feature.
    """

    parameters: int
    average: int
    queue: int
    embed_dim: int


@dataclass(frozen=True)
class RankFigures:
    """What one rank got.

    Attributes:
        counts: of the whole model.
        held: bytes of the tensors this rank holds, by ``PARTS``.
        figures: losses and gradient norm of each step.
        seconds: of each step behind the first.
        cpu_seconds: likewise, of this rank's processor time.
        building_bytes: growth of the process up to its peak while model, optimizer and shards are made.
        training_bytes: growth up to the peak of the steps behind the first; None where unknown, as above.
    """

    counts: Counts
    held: Mapping[str, int]
    figures: Sequence[Mapping[str, float]]
    seconds: Sequence[float]
    cpu_seconds: Sequence[float]
    building_bytes: int | None
    training_bytes: int | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> RankFigures:
        return cls(**{**plain, "counts": Counts(**plain["counts"])})


def train(strategy: str, sizes: Sizes, steps: int) -> RankFigures:
    """Train some steps in this process, as one of the ranks there are. Raises StageError when refused."""
    inputs = Inputs(sizes, "cpu")
    before = settled_memory("cpu")
    learner, momentum = _parts(inputs)
    counts = Counts(
        sum(p.numel() for p in learner.parameters() if p.requires_grad),
        sum(p.numel() for p in momentum.twin.parameters()),
        sizes.queue,
        sizes.embed_dim,
    )
    layers = learner.model.stacked_layers()
    workload = Workload(Objective(learner, FLOAT32), momentum, layers, OPTIMIZER, torch.device("cpu"))
    spread = load_plugins().registry.get("strategy", strategy).factory()()(workload)
    gradients = _watch_gradients(spread)
    course = Course(epochs=1, step_size=1, batches_left=lambda taken: steps - taken)
    trainer = Trainer(spread, momentum, Constant(), seed=0, course=course, clip_norm=1.0)
    building = peak_memory("cpu")
    figures, seconds, cpu_seconds = [], [], []
    for step in range(steps):
        batch = own_rows(inputs.batch(step))
        started, cpu_started = time.perf_counter(), time.process_time()
        figures.append(_compared(trainer.step([batch], step)))
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
        if step == 0:
            settled_memory("cpu")
    training = peak_memory("cpu")
    return RankFigures(
        counts,
        {**_held(spread, momentum), "gradients": max(gradients)},
        figures,
        seconds[1:],
        cpu_seconds[1:],
        None if before is None or building is None else building - before,
        None if before is None or training is None else training - before,
    )


def _parts(inputs: Inputs) -> tuple[Learner, MomentumEncoder]:
    """The learner, whose ITM draws the same negatives on any number of ranks, and its momentum encoder."""
    learner = build_learner(inputs)
    learner.heads["itm"] = ItmHead(
        text_width=inputs.sizes.width, loss=CrossEntropy(), negatives=Hardest(), negatives_from="all_ranks"
    )
    momentum = MomentumEncoder(model=learner.model, queue_size=inputs.sizes.queue)
    ids = -1 - torch.arange(inputs.sizes.queue)
    momentum.queue.push(*inputs.queue, ids, ids)
    return learner.train(), momentum


def own_rows(whole: Batch) -> Batch:
    """This rank's part of a batch."""
    size = len(whole) // world_size()
    rows = slice(rank() * size, (rank() + 1) * size)
    return Batch(whole.images[rows], whole.texts[rows], whole.image_ids[rows], whole.keys[rows])


def _compared(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if "loss" in name or "norm" in name}


def _watch_gradients(spread: Spread) -> list[int]:
    """Note the bytes of this rank's gradients whenever the optimizer steps."""
    noted: list[int] = []
    spread.optimizer.register_step_pre_hook(lambda *_: noted.append(_bytes(spread.gradients())))
    return noted


def _held(spread: Spread, momentum: MomentumEncoder) -> dict[str, int]:
    # fairscale's OSS keeps its part in an optimizer of its own.
    state = getattr(spread.optimizer, "optim", spread.optimizer).state
    slots = [slot for slots in state.values() for slot in slots.values() if isinstance(slot, Tensor)]
    return {
        "parameters": _bytes(spread.parameters),
        "optimizer": _bytes(slots),
        "average": _bytes(momentum.twin.parameters()),
        "queue": _bytes(momentum.queue.buffers()),
    }


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(local_part(tensor).nbytes for tensor in tensors)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategy_rank", description=__doc__)
    parser.add_argument("strategy", help="name of a component of the kind 'strategy'")
    parser.add_argument("folder", type=Path, help="where RANK.json is written")
    parser.add_argument("--sizes", choices=SIZES, required=True)
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with process_group("cpu"):
        try:
            found = asdict(train(options.strategy, SIZES[options.sizes], options.steps))
        except StageError as refusal:
            found = {"refused": str(refusal)}
        (options.folder / f"{rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
