"""A small BLIP trained by ranks of a real process group, for the tests of strategies."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.losses import CrossEntropy
from mmtk_fairscale.oss import FairscaleOss
from mmtk_momentum.ema import MomentumEncoder
from mmtk_momentum.negatives import Hardest

from mmtk.distributed.collectives import rank, world_size
from mmtk.distributed.spread import Workload
from mmtk.distributed.strategies import Ddp, Fsdp2, Single
from mmtk.engine.configs import FLOAT32
from mmtk.engine.objective import Objective
from mmtk.engine.optimizers import AdamW
from mmtk.engine.position import Course
from mmtk.engine.schedules import Constant
from mmtk.engine.trainer import Trainer
from mmtk.engine.training_state import TrainingState, put_state, take_state
from mmtk.types import Batch
from tests.blip.parts import batch, tiny_learner

STRATEGIES: dict[str, Any] = {
    "single": Single,
    "ddp": Ddp,
    "fsdp2": Fsdp2,
    "fsdp2 gathered": partial(Fsdp2, reshard_after_forward=False),
    "fairscale_oss": FairscaleOss,
}
# Of different lengths, so that the ranks hold different numbers of tokens; two pairs show one image.
CAPTIONS = (
    ("a red cat", "the big blue dogs on a green car", "owl", "a small house near the tree and a dog"),
    ("a big tree", "a cat and a dog with the owl in a red house", "car", "the picture of a blue owl"),
)
# The keys' biases have no gradient but rounding errors, which a smaller eps would blow up.
OPTIMIZER = AdamW(lr=1e-3, eps=1e-4)
IMAGE_IDS = ([3, 5, 3, 8], [1, 2, 9, 4])


def trainer(strategy: str, wrap: Any = None, momentum: bool = True) -> Trainer:
    """Build the same trainer on every rank: all three heads, hardest negatives of all ranks, no dropout."""
    learner = tiny_learner(seed=4)
    negatives = ItmHead(text_width=16, loss=CrossEntropy(), negatives=Hardest(), negatives_from="all_ranks")
    learner.heads["itm"] = negatives.train()
    slow = MomentumEncoder(model=learner.model, momentum=0.5, queue_size=10) if momentum else None
    layers = learner.model.stacked_layers()
    if wrap is not None:
        wrap(layers)
    workload = Workload(Objective(learner, FLOAT32), slow, layers, OPTIMIZER, torch.device("cpu"))
    course = Course(epochs=1, step_size=1, batches_left=lambda taken: 100 - taken)
    return Trainer(STRATEGIES[strategy]()(workload), slow, Constant(), seed=0, course=course, clip_norm=1.0)


def own_rows(whole: Batch) -> Batch:
    """This rank's part of a batch."""
    size = len(whole) // world_size()
    rows = slice(rank() * size, (rank() + 1) * size)
    return Batch(whole.images[rows], whole.texts[rows], whole.image_ids[rows], whole.keys[rows])


def train(
    strategy: str,
    steps: int,
    accumulate: int = 1,
    start: Any = None,
    wrap: Any = None,
    momentum: bool = True,
) -> dict[str, Any]:
    """Do some steps, on from a state if one is given; return losses, norms and the whole state at the end."""
    torch.manual_seed(0)
    trained = trainer(strategy, wrap, momentum)
    if start is not None:
        put_state(trained.spread, TrainingState(*start))
    figures = []
    for step in range(steps):
        batches = [
            own_rows(batch(CAPTIONS[(step + part) % 2], IMAGE_IDS[(step + part) % 2]))
            for part in range(accumulate)
        ]
        done = trained.step(batches, step)
        figures.append({name: done[name] for name in sorted(done) if "loss" in name or "norm" in name})
    state = take_state(trained.spread)
    return {"figures": figures, "state": tuple(state)}
