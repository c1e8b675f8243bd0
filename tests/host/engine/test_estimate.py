from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mmtk.data.configs import SourceConfig
from mmtk.distributed.spread import Workload
from mmtk.distributed.strategies import plain
from mmtk.engine.configs import TrainConfig
from mmtk.engine.estimate import training_size
from mmtk.engine.learner import Learner
from mmtk.engine.objective import Objective
from mmtk.engine.train import TrainStage
from mmtk.engine.training_state import ensure_optimizer_state
from mmtk.registry import Registry
from mmtk.stages.context import EstimateContext
from mmtk.types import HeadOutput
from tests.host.engine.tiny import ColourReader, TinyModel, part, train_fields
from tests.host.engine.tiny import NamingHead as Naming


def estimate(
    folder: Path, *, ranks: int = 1, goes_on: bool = False, pending: Any = None, **changed: Any
) -> str:
    context = EstimateContext(folder, 5, ranks, goes_on, pending or {}, Registry())
    return "\n".join(TrainStage(**train_fields(**changed)).estimate(context))


def built(config: TrainConfig) -> Any:
    """The same training, really built, after a step."""
    model: Any = config.model.build()
    heads: Any = {name: head.build(model=model) for name, head in config.heads.items()}
    momentum: Any = config.momentum.build(model=model) if config.momentum else None
    objective = Objective(Learner(model, heads), config.precision)
    spread = plain(Workload(objective, momentum, [], config.optimizer.build(), torch.device("cpu")))
    ensure_optimizer_state(spread)
    return spread


def nbytes(tensors: Any) -> int:
    return sum(one.nbytes for one in tensors if isinstance(one, torch.Tensor))


def test_what_is_counted_is_what_a_training_holds() -> None:
    config = TrainConfig(**train_fields())
    found, spread = training_size(config), built(config)
    assert found.parameters == found.trained == 41
    memory = found.memory
    learner, momentum = spread.modules["learner"], spread.modules["momentum"]
    assert memory.weights == nbytes(learner.parameters()) + nbytes(learner.buffers())
    assert memory.gradients == 4 * 41
    assert memory.optimizer == nbytes(
        one for state in spread.optimizer.state.values() for one in state.values()
    )
    assert memory.average == nbytes(momentum.twin.parameters())
    assert memory.queue == nbytes(momentum.buffers())
    assert memory.total == 4 * 41 + 4 * 41 + memory.optimizer + memory.average + memory.queue


class FrozenHead(Naming):
    def __init__(self, *, model: TinyModel) -> None:
        super().__init__(model=model)
        model.image.requires_grad_(False)


def test_what_is_frozen_is_counted_apart() -> None:
    heads = {"naming": part("head", "frozen", FrozenHead)}
    found = training_size(TrainConfig(**train_fields(heads=heads, momentum=None)))
    assert (found.parameters, found.trained) == (37, 37 - 16)
    assert found.memory.average == found.memory.queue == 0


class LookingHead(nn.Module):
    """Looks at a number while it is built."""

    def __init__(self, *, model: TinyModel) -> None:
        super().__init__()
        self.first = float(model.temperature)

    def forward(self, context: Any) -> HeadOutput:
        raise NotImplementedError


def test_the_lines(tmp_path: Path) -> None:
    parameters, memory, steps, time = estimate(tmp_path).splitlines()
    assert parameters == "parameters: 41, of which 41 are trained"
    assert memory.startswith("memory of a process that holds everything: ")
    assert memory.endswith("without activations, copies in half precision and buffers for communication")
    assert steps == "steps: 12; an epoch is 24 samples in 4 steps of up to 6"
    assert time == "time: not known: there is no measured step of this stage in the run's folder"


def test_steps_are_those_of_the_course(tmp_path: Path) -> None:
    assert "\nsteps: 6; an epoch is 24 samples in 2 steps of up to 12\n" in estimate(tmp_path, ranks=2)
    assert "\nsteps: 6; an epoch is 24 samples in 2 steps of up to 12\n" in estimate(tmp_path, accumulate=2)
    assert "\nsteps: 5; " in estimate(tmp_path, max_steps=5)


def log(folder: Path, *lines: object) -> None:
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_time_is_told_from_what_was_measured(tmp_path: Path) -> None:
    speeds = [{"step": 3 * n, "samples_per_second": speed} for n, speed in ((1, 0.1), (2, 2.0), (3, 4.0))]
    log(tmp_path, *speeds)
    assert estimate(tmp_path).splitlines()[-1] == (
        "time: about 36.0 s, at the 2 samples a second of an earlier try with other settings here"
    )
    assert estimate(tmp_path, goes_on=True).splitlines()[-1] == (
        "time: about 9.0 s for the steps after 9, at the 2 samples a second of an earlier try here"
    )


@pytest.mark.parametrize("text", ["", "{", '{"step": 1}\n', "[]\n", "3\n", '{"samples_per_second": 3}\n'])
def test_what_measures_nothing_is_no_measure(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    assert estimate(tmp_path).splitlines()[-1].startswith("time: not known")


def test_what_cant_be_built_without_numbers_says_so(tmp_path: Path) -> None:
    lines = estimate(tmp_path, heads={"looking": part("head", "looking", LookingHead)}).splitlines()
    assert lines[0].startswith("parameters and memory: can't be counted without building the model: ")
    assert lines[1].startswith("steps: 12;")


def test_what_waits_for_an_output_says_for_which(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    model = part("model", "tiny", TinyModel, words=words)
    lines = estimate(tmp_path, model=model, pending={words: "vocabulary.words"}).splitlines()
    assert lines[0] == "parameters and memory: not known without vocabulary.words"
    reader = part("reader", "colours", ColourReader, path=words)
    data = dataclasses.replace(train_fields()["data"], sources={"web": SourceConfig(reader=reader)})
    lines = estimate(tmp_path, data=data, max_steps=7, pending={words: "emoji.web"}).splitlines()
    assert lines[-1] == "steps and time: not known without emoji.web; 3 epochs of it, 7 steps at most"


def test_data_that_cant_be_opened_says_why(tmp_path: Path) -> None:
    reader = part("reader", "colours", ColourReader, samples=0)
    data = dataclasses.replace(train_fields()["data"], sources={"web": SourceConfig(reader=reader)})
    assert "\nsteps and time: not known: " in estimate(tmp_path, data=data)
