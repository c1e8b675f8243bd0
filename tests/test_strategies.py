"""Every strategy trains as one process with the whole batch does, and goes on from any other's state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmtk_fairscale.fsdp import FairscaleFsdp
from mmtk_fairscale.recompute import FairscaleCheckpointing
from mmtk_fairscale.sdp import FairscaleSdp

from mmtk.distributed.spread import Spread, Workload
from mmtk.distributed.strategies import Ddp, Fsdp2, plain
from mmtk.engine.recompute import TorchCheckpointing
from mmtk.errors import StageError
from mmtk.testing import BrokenPromiseError, check_strategy
from tests import distributed_training
from tests.distributed_training import train
from tests.ranks import run_ranks

STRATEGIES = ("ddp", "fsdp2", "fsdp2 gathered", "fairscale_oss")
STEPS = 4
REFUSED: dict[str, Any] = {
    "sdp": FairscaleSdp,
    "fsdp": FairscaleFsdp,
    "offload": lambda: Fsdp2(cpu_offload=True),
}


def every_case(_rank: int, start: Any) -> dict[str, Any]:
    """All that a rank does here, in one process: starting one takes longer than training."""
    done: dict[str, Any] = {}
    for strategy in STRATEGIES:
        for accumulate in (1, 2):
            done[f"{strategy} x{accumulate}"] = train(strategy, STEPS, accumulate)
        done[f"{strategy} loaded"] = train(strategy, 0, start=copy.deepcopy(start))
        done[f"{strategy} on"] = train(strategy, 2, start=copy.deepcopy(start))
        done[f"{strategy} checked"] = broken(distributed_training.STRATEGIES[strategy]())
        done[f"{strategy} without momentum"] = train(strategy, 2, momentum=False)
    for name, wrap in (("torch", TorchCheckpointing()), ("fairscale", FairscaleCheckpointing())):
        done[f"fsdp2 {name}"] = train("fsdp2", STEPS, wrap=wrap)
    distributed_training.STRATEGIES |= REFUSED
    for strategy in (*REFUSED, "single"):
        with pytest.raises(StageError) as caught:
            distributed_training.trainer(strategy)
        done[strategy] = str(caught.value)
    done["unjoined checked"] = broken(Unjoined())
    return done


class Unjoined(Ddp):
    """Leaves every rank with the gradients of its own rows."""

    def __call__(self, workload: Workload) -> Spread:
        return plain(workload)


def broken(strategy: Any) -> str:
    """What ``check_strategy`` finds on this rank; empty for nothing."""
    try:
        check_strategy(strategy)
    except BrokenPromiseError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def single() -> dict[int, dict[str, Any]]:
    """What one process gets, by the number of batches in a step."""
    return {accumulate: train("single", STEPS, accumulate) for accumulate in (1, 2)}


@pytest.fixture(scope="module")
def start() -> Any:
    """The state of one process after two steps."""
    return train("single", 2)["state"]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory, start: Any) -> list[dict[str, Any]]:
    """What two ranks got in every case."""
    return run_ranks("tests.test_strategies:every_case", tmp_path_factory.mktemp("ranks"), start)


def assert_equal_figures(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=2e-5, abs=1e-6)


def assert_equal_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_and_weights_are_those_of_one_process(
    ranks: list[dict[str, Any]], single: dict[int, dict[str, Any]], strategy: str, accumulate: int
) -> None:
    first, second = (rank[f"{strategy} x{accumulate}"] for rank in ranks)
    assert first["figures"] == second["figures"]
    assert_equal_figures(first["figures"], single[accumulate]["figures"])
    tensors, _ = first["state"]
    assert_equal_tensors(tensors, single[accumulate]["state"][0])
    assert sum(name.startswith("optimizer.exp_avg.") for name in tensors) > 30
    assert any(name.startswith("momentum.queue") for name in tensors)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_state_goes_from_one_process_to_ranks_and_back(
    ranks: list[dict[str, Any]], start: Any, strategy: str
) -> None:
    loaded, _ = ranks[0][f"{strategy} loaded"]["state"]
    assert loaded.keys() == start[0].keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in start[0].items())
    through = train("single", 2, start=copy.deepcopy(start))
    on = ranks[0][f"{strategy} on"]
    assert_equal_figures(on["figures"], through["figures"])
    assert_equal_figures(
        train("single", 1, start=on["state"])["figures"],
        train("single", 1, start=through["state"])["figures"],
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_keeps_its_kinds_promises_on_ranks(ranks: list[dict[str, Any]], strategy: str) -> None:
    assert [rank[f"{strategy} checked"] for rank in ranks] == ["", ""]


def test_a_strategy_that_joins_nothing_breaks_them(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert "Unjoined: the gradient's norm in a step of 1 batches is" in rank["unjoined checked"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_momentum_other_ranks_online_features_are_contrasted(
    ranks: list[dict[str, Any]], strategy: str
) -> None:
    expected = train("single", 2, momentum=False)
    assert_equal_figures(ranks[0][f"{strategy} without momentum"]["figures"], expected["figures"])


@pytest.mark.parametrize(
    "wrap", [TorchCheckpointing(), FairscaleCheckpointing(), TorchCheckpointing(layers=0.4)]
)
def test_recomputed_activations_change_nothing(single: dict[int, dict[str, Any]], wrap: Any) -> None:
    found = train("single", STEPS, wrap=wrap)
    assert_equal_figures(found["figures"], single[1]["figures"])
    assert_equal_tensors(found["state"][0], single[1]["state"][0])


@pytest.mark.parametrize("name", ["torch", "fairscale"])
def test_recomputed_activations_in_shards(
    ranks: list[dict[str, Any]], single: dict[int, dict[str, Any]], name: str
) -> None:
    assert_equal_figures(ranks[0][f"fsdp2 {name}"]["figures"], single[1]["figures"])


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("sdp", "strategy 'fairscale_sdp' needs CUDA"),
        ("fsdp", "strategy 'fairscale_fsdp' needs CUDA"),
        ("offload", "strategy 'fsdp2': cpu_offload moves shards off a GPU"),
        ("single", "strategy 'single' trains on one rank, and this run has 2"),
    ],
)
def test_what_the_backend_cannot_run_is_refused(
    ranks: list[dict[str, Any]], strategy: str, message: str
) -> None:
    assert [rank[strategy].startswith(message) for rank in ranks] == [True, True]
