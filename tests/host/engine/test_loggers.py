from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmtk.engine.loggers import JsonLines, TensorBoard, WeightsAndBiases
from mmtk.errors import StageError


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_json_lines(tmp_path: Path) -> None:
    logger = JsonLines(folder=tmp_path)
    logger.log(10, {"loss": 1.5, "loss/itm": 0.6365})
    assert lines(tmp_path) == [
        {"step": 10, "loss": 1.5, "loss/itm": 0.6365}
    ]  # readable while the run goes on
    logger.log(20, {"loss": 1.0})
    logger.close()
    assert [line["step"] for line in lines(tmp_path)] == [10, 20]


def test_json_lines_rewound_after_a_kill(tmp_path: Path) -> None:
    killed = JsonLines(folder=tmp_path)
    for step in (10, 20, 30):
        killed.log(step, {"loss": 1.0})
    killed.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')

    resumed = JsonLines(folder=tmp_path)
    resumed.rewind(20)
    resumed.log(30, {"loss": 2.0})
    resumed.close()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_json_lines_rewound_to_the_start(tmp_path: Path) -> None:
    first = JsonLines(folder=tmp_path)
    first.log(10, {"loss": 1.0})
    first.close()
    second = JsonLines(folder=tmp_path)
    second.rewind(0)
    second.close()
    assert lines(tmp_path) == []


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard(tmp_path: Path) -> None:
    logger = TensorBoard(folder=tmp_path)
    logger.rewind(0)
    logger.log(10, {"loss/itm": 0.5})
    logger.log(20, {"loss/itm": 0.25})
    logger.close()
    assert scalars(tmp_path, "loss/itm") == [(10, 0.5), (20, 0.25)]


def test_tensorboard_rewound_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = TensorBoard(folder=tmp_path)
    for step in (10, 20, 30):
        killed.log(step, {"loss": float(step)})
    killed.close()
    # Event files are read in the order of their names, which start with the time in whole seconds.
    monkeypatch.setattr("time.time", lambda: 4e9)
    resumed = TensorBoard(folder=tmp_path)
    resumed.rewind(20)
    resumed.log(30, {"loss": 0.0})
    resumed.close()
    assert scalars(tmp_path, "loss") == [(10, 10.0), (20, 20.0), (30, 0.0)]


def test_tensorboard_without_figures_writes_nothing(tmp_path: Path) -> None:
    TensorBoard(folder=tmp_path).close()
    assert list(tmp_path.iterdir()) == []


class FakeWandb(types.ModuleType):
    """What the logger uses of wandb: runs by id, which take no step twice."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: dict[str, dict[int, dict[str, float]]] = {}
        self.asked: list[dict[str, Any]] = []
        self.finished = 0

    def init(self, **asked: Any) -> FakeWandb:
        self.asked.append(asked)
        self.steps = self.runs.setdefault(asked["id"], {})
        return self

    def log(self, figures: dict[str, float], step: int) -> None:
        if step > max(self.steps, default=-1):
            self.steps[step] = figures

    def finish(self) -> None:
        self.finished += 1


def test_weights_and_biases_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    folder = tmp_path / "run" / "pretrain"
    folder.mkdir(parents=True)
    for steps in ((10, 20), (20, 30)):  # killed behind 20, and resumed behind 10
        logger = WeightsAndBiases(folder=folder, project="mine", entity=None, name=None, mode="offline")
        for step in steps:
            logger.log(step, {"loss": float(step)})
        logger.close()
    assert list(fake.runs.values()) == [{10: {"loss": 10.0}, 20: {"loss": 20.0}, 30: {"loss": 30.0}}]
    assert fake.finished == 2
    assert fake.asked[0] == fake.asked[1]
    asked = fake.asked[0]
    assert (asked["name"], asked["dir"], asked["resume"]) == ("run/pretrain", str(folder), "allow")


def test_a_missing_wandb_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(StageError, match=r"needs wandb: pip install 'mmtk\[wandb\]'"):
        WeightsAndBiases(folder=tmp_path, project="mine", entity=None, name=None, mode="online")
