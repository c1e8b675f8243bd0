"""What the engine does with two ranks that hold different things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from mmtk.distributed.collectives import rank
from mmtk.distributed.spread import Workload, whole_tensors
from mmtk.distributed.strategies import Ddp, Fsdp2
from mmtk.engine.configs import FLOAT32, SavingConfig
from mmtk.engine.learner import Learner
from mmtk.engine.objective import Objective
from mmtk.engine.optimizers import AdamW
from mmtk.engine.position import Course
from mmtk.engine.saved_states import Progress, SavedStates
from mmtk.engine.schedules import Constant
from mmtk.engine.trainer import NonFiniteStepError, Trainer
from mmtk.engine.training_state import take_state
from mmtk.types import HeadOutput
from tests.host.engine.tiny import NamingHead, TinyModel, UnusedHead, batch
from tests.ranks import run_ranks


class OnFirstRank(nn.Module):
    """A head that has one term, of loss 1, on rank 0, and none elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def terms(self, _: Any) -> int:
        return int(rank() == 0)

    def forward(self, context: Any) -> HeadOutput:
        return HeadOutput(self.weight.sum() * self.terms(context), {})


class Steep(nn.Module):
    """A head whose gradient is infinite, in a parameter that is too small to have a part on every rank."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, _: Any) -> HeadOutput:
        return HeadOutput(self.weight.sqrt().sum(), {})


def trainer(strategy: Any, head: nn.Module) -> Trainer:
    torch.manual_seed(0)
    model = TinyModel()
    objective = Objective(Learner(model, {"naming": NamingHead(model=model), "own": head}), FLOAT32)
    workload = Workload(objective, None, (), AdamW(lr=0.1), torch.device("cpu"))
    course = Course(epochs=1, step_size=1, batches_left=lambda taken: 4 - taken)
    return Trainer(strategy(workload), None, Constant(), seed=3, course=course)


def reload(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Save a state in shards and load it into a new learner; return it whole, as it was and as it is."""
    saved, loaded = trainer(Fsdp2(), UnusedHead()), trainer(Fsdp2(), UnusedHead())
    saved.step([batch()], 0)
    SavedStates(folder, saved.spread, SavingConfig(form="sharded")).save(Progress(1))
    assert SavedStates(folder, loaded.spread, SavingConfig(form="sharded")).load() is not None
    return take_state(saved.spread).tensors, take_state(loaded.spread).tensors


def every_case(number: int, folder: Path) -> dict[str, Any]:
    """All that a rank does here, in one process."""
    figures = trainer(Ddp(), OnFirstRank()).step([batch()], 0)
    with pytest.raises(NonFiniteStepError) as caught:
        trainer(Fsdp2(), Steep()).step([batch()], 0)
    mesh = init_device_mesh("cpu", (2,))
    row, rows = (distribute_tensor(torch.ones(count, 3), mesh, [Shard(0)]) for count in (1, 4))
    whole = whole_tensors({"row": row, "rows": rows, "tied row": row.detach(), "tied rows": rows.detach()})
    return {
        "reloaded": reload(folder / "states"),
        "loss": figures["loss/own"],
        "message": str(caught.value),
        "whole": {name: tensor.shape for name, tensor in whole.items()},
        "ties": number == 0 and [whole[f"tied {name}"] is whole[name] for name in ("row", "rows")],
    }


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    return run_ranks("tests.host.engine.test_ranks:every_case", folder, folder)


def test_fewer_terms_than_ranks_weigh_as_much_as_on_one_rank(ranks: list[dict[str, Any]]) -> None:
    assert [found["loss"] for found in ranks] == [1.0, 1.0]


def test_all_ranks_name_the_tensors_whose_gradient_is_not_finite(ranks: list[dict[str, Any]]) -> None:
    messages = [found["message"] for found in ranks]
    assert messages[0].startswith("step 1: the gradient is not finite in 1 tensor (heads.own.weight). ")
    assert messages[0] == messages[1]


def test_ties_are_found_alike_where_a_rank_holds_no_part(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["whole"] == {"row": (1, 3), "rows": (4, 3), "tied row": (1, 3), "tied rows": (4, 3)}
    assert ranks[0]["ties"] == [True, True]
    assert ranks[1]["whole"] == {}


def test_a_state_in_shards_comes_back_without_slots_of_its_own(ranks: list[dict[str, Any]]) -> None:
    saved, loaded = ranks[0]["reloaded"]
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    assert "optimizer.exp_avg.model.image.weight" in saved
    assert "optimizer.exp_avg.heads.own.weight" not in saved
