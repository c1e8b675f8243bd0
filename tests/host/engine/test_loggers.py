from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmtk.engine.loggers import JsonLines, TensorBoard


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
