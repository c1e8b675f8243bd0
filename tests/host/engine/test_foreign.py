"""What ``mmtk import`` and ``mmtk export`` do, with a tiny model's importer and exporter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mmtk.engine.checkpoint import LearnerNodes, load_learner, save_learner
from mmtk.engine.foreign import export_learner, import_learner
from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError, RecipeError
from mmtk.recipe.build import from_plain
from mmtk.registry import Component, Registration, Registry
from mmtk.stages.context import Output
from mmtk.stages.record import StageRecord, Status, write_record
from mmtk.types import ExportSource, ForeignWeights, ImportedLearner

from . import tiny

HERE = "tests.host.engine.test_foreign"
SOURCES: list[ExportSource] = []


class NumbersImporter:
    """Reads ``{"numbers": [[...]]}`` as the tiny model's table."""

    def __init__(self, *, width: int = 4) -> None:
        self.width = width

    def accepts(self, source: Path) -> bool:
        return source.suffix == ".numbers"

    def __call__(self, source: Path) -> ImportedLearner:
        table = torch.tensor(json.loads(source.read_text())["numbers"])
        weights = {
            "model.text.weight": table,
            "model.text_again.weight": table,
            "heads.naming.bias": table[0],
        }
        return ImportedLearner(
            {"use": "tiny", "width": self.width},
            {"naming": {"use": "naming"}},
            ForeignWeights(weights, ("extra",)),
            ("made of numbers",),
        )


@dataclass(frozen=True, kw_only=True)
class NumbersConfig:
    """Numbers."""

    width: int = 4


class Keeper:
    """An exporter that keeps what it was given."""

    def __init__(self, *, width: int = 4) -> None:
        self.width = width

    def __call__(self, source: ExportSource, target: Path) -> tuple[str, ...]:
        SOURCES.append(source)
        target.write_text(f"{self.width}")
        return ("kept",)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """A stage that evaluates."""

    OUTPUTS = {"metrics": Output("evaluation", "scores.json"), "other": Output("ledger", "ledger.json")}  # noqa: RUF012


@pytest.fixture
def registry() -> Registry:
    own = (
        Component("importer", "numbers", f"{HERE}:NumbersImporter", f"{HERE}:NumbersConfig"),
        Component("exporter", "keeper", f"{HERE}:Keeper", f"{HERE}:NumbersConfig"),
        Component("stage", "score", f"{HERE}:Keeper", f"{HERE}:ScoreConfig"),
    )
    host = tiny.registry()
    kinds = ("model", "head")
    return Registry(
        [
            *(one for kind in kinds for one in host.of_kind(kind)),
            *(Registration(component, "tiny", "mmtk-tiny", "1.0") for component in own),
        ]
    )


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "a.numbers"
    path.write_text(json.dumps({"numbers": torch.arange(16.0).view(4, 4).tolist()}))
    return path


def test_import_writes_a_checkpoint_and_says_what_it_did(
    numbers: Path, registry: Registry, tmp_path: Path
) -> None:
    done = import_learner(numbers, tmp_path / "out", registry, None, {})
    assert done.importer == "tiny/numbers"
    assert set(done.takeover.loaded) == {"model.text.weight", "model.text_again.weight", "heads.naming.bias"}
    assert done.takeover.left_over == ("extra",)
    assert "model.temperature" in done.takeover.fresh
    assert done.notes == ("made of numbers",)
    learner = load_learner(tmp_path / "out", registry)
    assert torch.equal(learner.model.text.weight, torch.arange(16.0).view(4, 4))


def test_import_refuses_what_it_must(numbers: Path, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file or folder"):
        import_learner(tmp_path / "gone", tmp_path / "out", registry, None, {})
    with pytest.raises(CheckpointError, match="is there already"):
        import_learner(numbers, tmp_path, registry, None, {})
    other = tmp_path / "other.bin"
    other.touch()
    with pytest.raises(CheckpointError, match="no importer knows this; there are: numbers"):
        import_learner(other, tmp_path / "out", registry, None, {})
    with pytest.raises(CheckpointError, match="doesn't fit the sizes read from it"):
        import_learner(numbers, tmp_path / "out", registry, None, {"width": "3"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("number", {}, "unknown importer 'number'; did you mean 'numbers'?"),
        (None, {"widht": "3"}, "command line: widht=3  widht: unknown key; did you mean 'width'?"),
        (None, {"width": "wide"}, "expected a whole number"),
    ],
)
def test_import_options_are_checked(
    numbers: Path, registry: Registry, tmp_path: Path, name: str | None, options: dict, message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        import_learner(numbers, tmp_path / "out", registry, name, options)
    assert message in str(error.value)


@pytest.fixture
def run(tmp_path: Path, registry: Registry) -> Path:
    """A run with two checkpoints, the later one evaluated."""
    folder = tmp_path / "runs" / "colours"
    for number, name in enumerate(("first", "second")):
        model = tiny.TinyModel()
        nodes = LearnerNodes(from_plain("model", {"use": "tiny"}, registry), {})
        save_learner(Learner(model, {}).state_dict(), nodes, folder / name / "checkpoint")
        write_record(
            folder / name, StageRecord(Status.DONE, "f", {"use": "train"}, 0, finished=f"2026-0{number + 1}")
        )
    scores = folder / "scores"
    scores.mkdir()
    (scores / "scores.json").write_text('{"test/r1": 0.25, "test/none": null}')
    node = {"use": "score", "rows": [{"checkpoint": {"from": "second.checkpoint"}}]}
    write_record(scores, StageRecord(Status.DONE, "f", node, 0))
    (folder / "recipe.resolved.yaml").write_text("name: colours\n")
    return folder


def test_export_takes_the_last_checkpoint_with_its_recipe_and_figures(
    run: Path, registry: Registry, tmp_path: Path
) -> None:
    said = export_learner(run, tmp_path / "out", registry, "keeper", {"width": "7"})
    assert said == ("the checkpoint of stage 'second'", "kept")
    assert (tmp_path / "out").read_text() == "7"
    source = SOURCES[-1]
    assert source.name == "colours"
    assert source.recipe == "name: colours\n"
    assert source.metrics == {"scores": {"test/r1": 0.25}}
    assert source.model == {"use": "tiny", "width": 4, "dropout": 0.0, "words": None}
    assert not source.learner.training


def test_export_of_a_named_stage_and_of_a_bare_checkpoint(
    run: Path, registry: Registry, tmp_path: Path
) -> None:
    assert export_learner(run, tmp_path / "one", registry, "keeper", {}, "first") == ("kept",)
    assert SOURCES[-1].metrics == {}
    assert export_learner(run / "first" / "checkpoint", tmp_path / "two", registry, "keeper", {}) == ("kept",)
    assert SOURCES[-1].recipe == ""


def test_export_refuses_what_it_must(run: Path, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        export_learner(tmp_path / "gone", tmp_path / "out", registry, "keeper", {})
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        export_learner(tmp_path, tmp_path / "out", registry, "keeper", {})
    with pytest.raises(CheckpointError, match="of a stage 'third'; there are: first, second"):
        export_learner(run, tmp_path / "out", registry, "keeper", {}, "third")
    with pytest.raises(RecipeError, match="unknown exporter 'keepr'; did you mean 'keeper'"):
        export_learner(run, tmp_path / "out", registry, "keepr", {})
    with pytest.raises(CheckpointError, match="is there already"):
        export_learner(run, run, registry, "keeper", {})
