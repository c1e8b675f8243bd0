from __future__ import annotations

import platform
import random
from importlib.metadata import version

import numpy as np
import pytest
import torch

from mmtk.errors import StageError
from mmtk.stages.environment import describe_environment, resolve_device, seed_everything


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_one_seed_gives_one_sequence(seed: int) -> None:
    seed_everything(seed)
    first = draws()
    assert draws() != first
    seed_everything(seed)
    assert draws() == first


def test_seeds_differ() -> None:
    seed_everything(1)
    first = draws()
    seed_everything(2)
    assert all(a != b for a, b in zip(first, draws(), strict=True))


@pytest.mark.parametrize(("found", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto(monkeypatch: pytest.MonkeyPatch, found: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert resolve_device("auto") == device


def test_a_device_that_is_there_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [resolve_device(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]


@pytest.mark.parametrize(
    ("count", "device", "message"), [(0, "cuda", "no CUDA"), (2, "cuda:2", "only cuda:0 to")]
)
def test_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, count: int, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(StageError, match=message):
        resolve_device(device)


def test_environment() -> None:
    described = describe_environment()
    assert described["python"] == platform.python_version()
    assert described["packages"]["torch"] == version("torch")
    assert {"mmtk", "timm", "pluggy"} <= described["packages"].keys()
