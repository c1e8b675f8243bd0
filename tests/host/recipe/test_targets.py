"""Paths that a component writes: no inputs, whatever lies there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

from mmtk.config import Target
from mmtk.engine.checkpoint import LearnerNodes, save_learner
from mmtk.errors import RecipeError
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.build import blueprint, from_plain, to_plain
from mmtk.recipe.fingerprint import file_identities
from mmtk.recipe.paths import WrittenPath
from mmtk.registry import Component, Registration, Registry
from mmtk.types import ComponentNode

HERE = __name__


@dataclass(frozen=True, kw_only=True)
class Notes:
    file: Annotated[Path, Target()] = Path("notes.txt")


@dataclass(frozen=True, kw_only=True)
class WriterConfig:
    log: Annotated[Path, Target()]
    also: Annotated[Path | None, Target()] = Path("also.txt")
    more: Mapping[str, Annotated[Path, Target()]] = field(default_factory=dict)
    notes: Notes = Notes()
    words: Path = Path("words.txt")


class Writer:
    def __init__(self, **keys: Any) -> None:
        self.keys = keys


REGISTRY = Registry(
    [Registration(Component("stage", "writer", f"{HERE}:Writer", f"{HERE}:WriterConfig"), "p", "d", "1")]
)


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("one two")


def writer(keys: str = "log: logs/a.txt, more: {b: b.txt}") -> ComponentNode:
    Path("recipe.yaml").write_text(f"stages: {{write: {{use: writer, {keys}}}}}")
    return check_recipe(load_recipe(Path("recipe.yaml")), REGISTRY).stages["write"].node


def test_it_neednt_be_there_and_is_built_as_an_absolute_path(tmp_path: Path) -> None:
    keys = blueprint(writer(), REGISTRY, {}).build().keys
    assert keys["log"] == tmp_path / "logs" / "a.txt"
    assert keys["also"] == tmp_path / "also.txt"
    assert keys["more"] == {"b": tmp_path / "b.txt"}
    assert keys["notes"].file == tmp_path / "notes.txt"
    assert all(isinstance(keys[name], Path) for name in ("log", "also"))


def test_what_lies_there_is_no_input() -> None:
    node = writer()
    before = file_identities(node)
    assert list(before) == ["words.txt"]
    for name in ("also.txt", "b.txt", "notes.txt"):
        Path(name).write_text("written")
    assert file_identities(node) == before
    Path("words.txt").write_text("others")
    assert file_identities(node) != before


def test_a_checkpoint_takes_no_copy_along(tmp_path: Path) -> None:
    Path("also.txt").write_text("written")
    save_learner({}, LearnerNodes(writer(), {}), tmp_path / "checkpoint")
    assert [path.name for path in (tmp_path / "checkpoint" / "files").iterdir()] == ["words.txt"]


def test_plain_and_back() -> None:
    node = writer()
    plain = to_plain(node)
    assert (plain["log"], plain["also"], plain["notes"]) == ("logs/a.txt", "also.txt", {"file": "notes.txt"})
    again = from_plain("stage", plain, REGISTRY)
    assert again == node
    assert isinstance(again.keys["also"], WrittenPath)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "log: words.txt/deeper/a.txt",
            r"log: nothing can be written at words\.txt/deeper/a\.txt: \S+ is a file",
        ),
        ("log: ''", "log: expected a path, not an empty text"),
        ("log: 3", "log: expected a path, not 3"),
        ("log: {from: other.log}", "log.*: this key takes a path and no stage's output"),
        ("also: a.txt", "log: this key is required and missing"),
    ],
)
def test_what_can_not_be_written_is_one_message(keys: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        writer(keys)
