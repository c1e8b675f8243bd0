"""The checks of strategies, weights, importers and exporters find what they are for, and say what broke."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmtk import testing
from mmtk.api import (
    CheckpointError,
    ExportSource,
    ForeignWeights,
    ImportedLearner,
    Spread,
    plain,
)
from mmtk.testing import BrokenPromiseError


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = name
    return function


def test_strategies() -> None:
    class Halved(Spread):
        def finish_backward(self) -> None:
            for gradient in self.gradients():
                gradient.mul_(0.5)

    class Forgetful(Spread):
        def load_optimizer_state(self, state: dict[str, Any]) -> None: ...

    def of(spread: type[Spread]) -> Callable[..., Spread]:
        def made(workload: Any) -> Spread:
            workload.to_device()
            return spread(workload, workload.objective, workload.build_optimizer())

        return named(spread.__name__, made)

    testing.check_strategy(plain)
    with pytest.raises(BrokenPromiseError, match="Halved: the gradient's norm in a step of 1 batches"):
        testing.check_strategy(of(Halved))
    with pytest.raises(BrokenPromiseError, match="Forgetful: gives another state than it has taken"):
        testing.check_strategy(of(Forgetful))
    with pytest.raises(BrokenPromiseError, match="returns NoneType, no Spread"):
        testing.check_strategy(lambda _workload: None)


class Weights:
    """A source of weights that is right, unless it is told to be wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.calls = 0

    def __call__(self, learner: Any) -> ForeignWeights:
        self.calls += 1
        if self.fault == "changes":
            next(learner.parameters()).data.add_(1)
        name, tensor = next(iter(learner.state_dict().items()))
        value = float(self.calls) if self.fault == "random" else 1.0
        return ForeignWeights({"none" if self.fault == "nothing" else name: torch.full_like(tensor, value)})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("changes", "Weights: changes the learner"),
        ("random", "returns other tensors the second time"),
        ("nothing", "gives nothing that fits"),
    ],
)
def test_sources_of_weights(fault: str, message: str, tmp_path: Path) -> None:
    learner = testing.tiny_learner(tmp_path, {"itc": {"use": "itc"}})
    testing.check_weights(Weights(), learner)
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_weights(Weights(fault), learner)


class OwnFormat:
    """Reads and writes a learner as torch's own file with its nodes, right unless it is told to be wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def accepts(self, source: Path) -> bool:
        if self.fault == "raises":
            source.stat()
        return self.fault == "all" or (source.is_file() and source.read_bytes()[:2] == b"PK")

    def read(self, source: Path) -> ImportedLearner:
        try:
            found = torch.load(source, weights_only=True)
        except Exception as error:
            if self.fault == "traceback":
                raise
            raise CheckpointError(str(error)) from error
        if self.fault == "marks":
            source.write_bytes(source.read_bytes() + b"read")
        return ImportedLearner(found["model"], found["heads"], ForeignWeights(found["weights"]))

    def write(self, source: ExportSource, target: Path) -> tuple[str, ...]:
        weights = source.learner.state_dict()
        if self.fault == "rounds":
            weights = {name: tensor.bfloat16().float() for name, tensor in weights.items()}
        torch.save({"model": source.model, "heads": source.heads, "weights": weights}, target)
        if self.fault == "beside":
            target.with_name("log.txt").touch()
        if self.fault == "trains":
            source.learner.train()
        return ()


class OwnImporter(OwnFormat):
    def __call__(self, source: Path) -> ImportedLearner:
        return self.read(source)


class OwnExporter(OwnFormat):
    def __call__(self, source: ExportSource, target: Path) -> tuple[str, ...]:
        return self.write(source, target)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("", ""),
        ("raises", "raises FileNotFoundError at a path that isn't there"),
        ("all", "accepts a path that isn't there as its format"),
        ("marks", r"changes own\.pt"),
        ("traceback", "no CheckpointError, where a file is cut off"),
    ],
)
def test_importers(fault: str, message: str, tmp_path: Path) -> None:
    source = testing.tiny_export_source(tmp_path, {"itc": {"use": "itc"}})
    OwnExporter()(source, tmp_path / "own.pt")
    (tmp_path / "checked").mkdir()
    arguments = (OwnImporter(fault), tmp_path / "own.pt", tmp_path / "checked")
    if not fault:
        testing.check_importer(*arguments)
        return
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_importer(*arguments)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("", ""),
        ("rounds", "what is read back of it was no such tensor: "),
        ("beside", "writes beside its target: log.txt"),
        ("trains", "leaves the learner in training mode"),
    ],
)
def test_exporters(fault: str, message: str, tmp_path: Path) -> None:
    if not fault:
        testing.check_exporter(OwnExporter(), tmp_path, importer=OwnImporter())
        return
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_exporter(OwnExporter(fault), tmp_path, importer=OwnImporter())
