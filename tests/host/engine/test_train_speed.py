"""A training stage's table of times, its trace, and compiled layers."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mmtk.engine import compiling
from mmtk.engine.compiling import compile_layers
from mmtk.engine.configs import PrecisionConfig, ProfileConfig
from mmtk.engine.loss_scale import LossScale
from mmtk.engine.step_trace import StepTrace
from mmtk.engine.train import TrainStage
from mmtk.errors import StageError
from mmtk.registry import Registry
from mmtk.stages.context import StageContext
from tests.host.engine.stage_runs import Killed, kill_at, metrics, same, weights, without_times
from tests.host.engine.tiny import TinyModel, part, train_fields

SECTIONS = {
    "data wait",
    "copy to device",
    "forward/naming",
    "forward/noisy",
    "backward",
    "gradient norm, clipping",
    "optimizer",
    "momentum",
    "saving",
    "logging",
    "rest",
}


def run(folder: Path, **changed: Any) -> list[str]:
    said: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry()
    TrainStage(**train_fields(**changed)).run(
        StageContext("pretrain", folder, 5, "cpu", registry, said.append)
    )
    return said


def timing(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "timing.json").read_text())
    return report


def traced(folder: Path) -> list[str]:
    with gzip.open(folder / "trace.json.gz", "rt") as file:
        events = json.load(file)["traceEvents"]
    return [event["name"] for event in events if event.get("cat") == "user_annotation"]


def test_table_and_file_name_every_part_of_a_step(tmp_path: Path) -> None:
    said = run(tmp_path)
    report = timing(tmp_path)
    assert report["steps"] == 12
    assert {section["name"] for section in report["sections"]} == SECTIONS
    assert sum(section["share"] for section in report["sections"]) == pytest.approx(1)
    assert all(section["seconds"] > 0 for section in report["sections"])
    head = next(index for index, line in enumerate(said) if line.startswith("time by section"))
    assert said[head + 1].startswith("  data wait ")
    assert len(said) == head + 1 + len(SECTIONS)


def test_times_of_a_killed_run_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, 7)
        with pytest.raises(Killed):
            run(tmp_path)
    run(tmp_path)
    assert timing(tmp_path)["steps"] == 12  # 4 saved ones, and 8 after them


def test_trace_holds_the_asked_steps(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = run(tmp_path, profile=ProfileConfig(steps=3, warmup=2))
    names = traced(tmp_path)
    assert names.count("forward/naming") == names.count("optimizer") == 3
    (line,) = [line for line in said if line.startswith("trace of ")]
    assert line.startswith(f"trace of 3 steps in {tmp_path / 'trace.json.gz'}")
    assert not list(tmp_path.glob("partial*"))
    assert torch.cuda.is_available() or capfd.readouterr().err == ""


def test_a_stage_that_ends_early_has_a_shorter_trace(tmp_path: Path) -> None:
    said = run(tmp_path, profile=ProfileConfig(steps=30, warmup=11))
    assert traced(tmp_path).count("forward/naming") == 1
    assert any(line.startswith("trace of 1 step in ") for line in said)


def test_a_stage_without_a_traced_step_says_so(tmp_path: Path) -> None:
    said = run(tmp_path, profile=ProfileConfig(steps=5, warmup=12))
    assert not (tmp_path / "trace.json.gz").exists()
    assert "no trace: the stage ended within the 12 steps of profile.warmup" in said


def test_tracing_changes_nothing_and_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "plain")
    with monkeypatch.context() as patch:
        kill_at(patch, 7)
        with pytest.raises(Killed):
            run(tmp_path / "traced", profile=ProfileConfig(steps=2, warmup=1))
    before = (tmp_path / "traced" / "trace.json.gz").read_bytes()
    said = run(tmp_path / "traced", profile=ProfileConfig(steps=2, warmup=1))
    assert not any(line.startswith("trace of") for line in said)
    assert (tmp_path / "traced" / "trace.json.gz").read_bytes() == before
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "traced"))
    assert without_times(metrics(tmp_path / "plain")) == without_times(metrics(tmp_path / "traced"))


def test_a_run_that_was_killed_while_tracing_traces_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = ProfileConfig(steps=3, warmup=1)
    with monkeypatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(Killed):
            run(tmp_path, profile=profile, save_every=1)
    assert not (tmp_path / "trace.json.gz").exists()
    run(tmp_path, profile=profile, save_every=1)
    assert traced(tmp_path).count("forward/naming") == 3


def test_a_trace_that_can_not_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(StepTrace, "_write", fail)
    run(tmp_path, profile=ProfileConfig(steps=3, warmup=2))
    assert capsys.readouterr().err == (
        "mmtk: the profiler failed in its hook mmtk_step_ended, which is not called again: OSError: no room\n"
    )
    assert metrics(tmp_path)[-1]["step"] == 12


class LayeredModel(TinyModel):
    """Names its image layer."""

    def stacked_layers(self) -> list[nn.Module]:
        return [self.image]


def test_layers_are_compiled_before_they_are_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[list[nn.Module], torch.device]] = []
    monkeypatch.setattr(
        "mmtk.engine.train.compile_layers", lambda layers, device: compiled.append((list(layers), device))
    )
    run(tmp_path, model=part("model", "layered", LayeredModel), compile=True, epochs=1)
    ((layers, device),) = compiled
    assert [type(layer) for layer in layers] == [nn.Linear]
    assert device.type == "cpu"


def test_a_model_without_layers_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="compile: this model doesn't name its layers"):
        run(tmp_path, compile=True)


def test_without_a_compiler_one_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand a long story")

    monkeypatch.setattr(compiling.torch, "compile", lambda _function: failing)
    with pytest.raises(StageError) as caught:
        compile_layers([nn.Linear(2, 2)], torch.device("cpu"))
    assert str(caught.value) == (
        "compile: nothing can be compiled here: No working C++ compiler found. On the CPU torch.compile "
        "needs a C++ compiler (g++ or clang++; CXX may name one); leave `compile` out to train without"
    )


def test_overflows_are_counted_in_the_figures_and_survive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half: dict[str, Any] = {"precision": PrecisionConfig(autocast="float16"), "save_every": 1, "log_every": 1}
    with monkeypatch.context() as patch:
        patch.setattr("mmtk.engine.train.LossScale", lambda enabled: LossScale(enabled, 2.0**24))
        kill_at(patch, 9)
        with pytest.raises(Killed):
            run(tmp_path, **half)
    run(tmp_path, **half)
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 13))
    counts = [line.get("overflows", 0.0) for line in lines]
    assert 1 <= counts[0] <= counts[-1]
    assert all(after - before in (0, 1) for before, after in itertools.pairwise(counts))
    assert [line["loss_scale"] for line in lines] == [2.0 ** (24 - count) for count in counts]
