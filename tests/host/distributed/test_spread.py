from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from mmtk.distributed.spread import Spread, Workload
from mmtk.engine.optimizers import AdamW
from tests.ranks import run_ranks


def norm_of_shards_and_whole(_: int, device: str) -> float:
    """The gradient norm of four numbers in shards on the CPU and one that every rank has on ``device``."""
    mesh = init_device_mesh("cpu", (2,))
    objective = nn.Module()
    objective.learner = nn.Module()
    objective.learner.rows = nn.Parameter(distribute_tensor(torch.zeros(4), mesh, [Shard(0)]))
    objective.learner.scale = nn.Parameter(torch.zeros((), device=device))
    workload = Workload(objective, None, (), AdamW(lr=0.1), torch.device(device))
    spread = Spread(workload, objective, workload.build_optimizer())
    objective.learner.rows.grad = distribute_tensor(torch.tensor([2.0, 4.0, 2.0, 5.0]), mesh, [Shard(0)])
    objective.learner.scale.grad = torch.tensor(24.0, device=device)
    return float(spread.gradient_norm())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_norm_of_shards_and_whole_gradients_together(tmp_path: Path, device: str) -> None:
    found = run_ranks("tests.host.distributed.test_spread:norm_of_shards_and_whole", tmp_path, device)
    assert found == [pytest.approx(25.0)] * 2
