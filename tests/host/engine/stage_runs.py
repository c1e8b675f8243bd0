"""Runs of the stage ``train`` on a tiny model, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmtk.engine.train import TrainStage
from mmtk.engine.weights import read_weights
from mmtk.events import Listeners
from mmtk.registry import Registry
from mmtk.stages.context import StageContext
from tests.host.engine.tiny import NamingHead, train_fields

PLAN = "41 parameters, 12 steps: an epoch is 24 samples in 4 steps"


ACCUMULATED = (
    "41 parameters, 6 steps: an epoch is 24 samples in 2 steps, 4 batches by 3 a step, the last one of 1"
)


class Killed(BaseException):
    """Stands for the end of the process."""


def run(folder: Path, seed: int = 5, listeners: Listeners | None = None, **changed: Any) -> list[str]:
    """Run the stage in ``folder`` and return what it said, but for the table of times."""
    said: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(listeners=listeners)  # training reads no checkpoint that has to be rebuilt
    TrainStage(**train_fields(**changed)).run(
        StageContext("pretrain", folder, seed, "cpu", registry, said.append)
    )
    times = next((i for i, line in enumerate(said) if line.startswith("time by section")), len(said))
    rows = sum(line.startswith("  ") for line in said)
    return said[:times] + said[times + 1 + rows :]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(folder / "checkpoint" / "weights.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_times(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    timed = {"samples_per_second", "data_wait"}
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make the head raise in the given call, once."""
    calls = 0
    forward = NamingHead.forward

    def dying(self: NamingHead, context: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == step:
            raise Killed
        return forward(self, context)

    monkeypatch.setattr(NamingHead, "forward", dying)
