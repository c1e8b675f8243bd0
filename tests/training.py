"""A trainer of parts that are built already, on one rank."""

from __future__ import annotations

import math
from typing import Any

import torch

from mmtk.distributed.spread import Workload
from mmtk.distributed.strategies import plain
from mmtk.engine.configs import FLOAT32
from mmtk.engine.learner import Learner
from mmtk.engine.objective import Objective
from mmtk.engine.position import Course
from mmtk.engine.trainer import Trainer
from mmtk.kinds import Schedule


def plain_trainer(
    learner: Learner,
    momentum: Any,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    seed: int,
    steps_per_epoch: int,
    total_steps: int,
    precision: Any = FLOAT32,
    **options: Any,
) -> Trainer:
    """Return a trainer whose epochs are of ``steps_per_epoch`` steps of one sample."""
    objective = Objective(learner, precision)
    workload = Workload(objective, momentum, (), lambda _: optimizer, torch.device("cpu"))
    course = Course(
        epochs=math.ceil(total_steps / steps_per_epoch),
        step_size=1,
        batches_left=lambda taken: steps_per_epoch - taken,
        max_steps=total_steps,
    )
    return Trainer(plain(workload), momentum, schedule, seed=seed, course=course, **options)
