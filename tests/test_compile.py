"""Compiled layers train as plain ones do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from mmtk.engine.compiling import compile_layers
from mmtk.engine.recompute import TorchCheckpointing
from tests.distributed_training import train
from tests.ranks import run_ranks

HAS_COMPILER = shutil.which("g++") is not None or shutil.which("clang++") is not None


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_missing_gpu_is_not_complained_of(tmp_path: Path) -> None:
    code = "import torch; from mmtk.engine.compiling import compile_layers; "
    code += "compile_layers([torch.nn.Linear(2, 2)], torch.device('cpu'))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "CUDA_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.parametrize("wrap", [lambda _: None, TorchCheckpointing()], ids=["alone", "recomputed"])
def test_losses_and_weights_are_those_of_plain_layers(wrap: Callable[[Sequence[nn.Module]], None]) -> None:
    def compiled_and_wrapped(layers: Sequence[nn.Module]) -> None:
        compiled(layers)
        wrap(layers)

    plain = train("single", 3)
    torch._dynamo.reset()
    counters.clear()
    assert_same_training(train("single", 3, wrap=compiled_and_wrapped), plain)
    assert counters["stats"]["unique_graphs"] > 3  # of the trial there is one


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_ranks_compile_what_one_process_trains_plainly(strategy: str, tmp_path: Path) -> None:
    plain = train("single", 3)
    ranks = run_ranks("tests.test_compile:train_compiled", tmp_path, strategy)
    assert_same_training(ranks[0][0], plain)
    for found, graphs in ranks:
        assert found["figures"] == ranks[0][0]["figures"]
        assert graphs > 3


def train_compiled(_rank: int, strategy: str) -> tuple[dict[str, Any], int]:
    return train(strategy, 3, wrap=compiled), counters["stats"]["unique_graphs"]


def compiled(layers: Sequence[nn.Module]) -> None:
    compile_layers(layers, torch.device("cpu"))


def assert_same_training(found: dict[str, Any], plain: dict[str, Any]) -> None:
    for one, other in zip(found["figures"], plain["figures"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert found["state"][0].keys() == plain["state"][0].keys()
    for name, tensor in plain["state"][0].items():
        assert torch.allclose(found["state"][0][name], tensor, rtol=1e-4, atol=1e-5), name
