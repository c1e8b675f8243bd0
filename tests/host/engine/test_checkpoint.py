from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mmtk.engine.checkpoint import (
    LearnerNodes,
    TransformNodes,
    build_learner,
    load_learner,
    load_nodes,
    load_transforms,
    save_learner,
)
from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError
from mmtk.registry import Registry
from mmtk.types import ComponentNode
from tests.host.engine.tiny import registry


def nodes(**model: Any) -> LearnerNodes:
    return LearnerNodes(
        model=ComponentNode("model", "tiny", {"width": 4, "dropout": 0.1, "words": None} | model),
        heads={
            "naming": ComponentNode("head", "naming", {"weight": 0.5}),
            "noisy": ComponentNode("head", "noisy", {}),
        },
    )


def saved(folder: Path, **model: Any) -> Learner:
    torch.manual_seed(4)
    recipe = nodes(**model)
    learner = build_learner(recipe, registry())
    save_learner(learner.state_dict(), recipe, folder)
    return learner


def test_round_trip(tmp_path: Path) -> None:
    learner = saved(tmp_path / "checkpoint")
    loaded = load_learner(tmp_path / "checkpoint", registry())

    assert list(loaded.heads) == ["naming", "noisy"]
    assert loaded.heads["naming"].weight == 0.5
    assert loaded.model.dropout.p == 0.1
    assert not loaded.training
    assert loaded.model.text_again.weight is loaded.model.text.weight
    for name, tensor in learner.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_folder_is_self_contained_and_can_be_moved(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("red green blue grey black")
    saved(tmp_path / "checkpoint", words=words)
    words.unlink()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "checkpoint", tmp_path / "elsewhere" / "moved")

    loaded = load_learner(tmp_path / "elsewhere" / "moved", registry())
    assert loaded.model.names == ["red", "green", "blue", "grey", "black"]
    assert str(tmp_path) not in (tmp_path / "elsewhere" / "moved" / "learner.json").read_text()
    inside = load_nodes(tmp_path / "elsewhere" / "moved", registry()).model.keys["words"]
    assert Path(inside) == tmp_path / "elsewhere" / "moved" / "files" / "words.txt"


def test_saved_again_from_what_was_loaded(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("red green")
    saved(tmp_path / "first", words=words)
    recipe = load_nodes(tmp_path / "first", registry())
    save_learner(load_learner(tmp_path / "first", registry()).state_dict(), recipe, tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    assert load_learner(tmp_path / "second", registry()).model.names == ["red", "green"]


def test_files_of_one_name_are_both_kept_and_one_file_is_kept_once(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "words.txt").write_text(f"{folder} words")
    recipe = nodes(words=tmp_path / "a" / "words.txt")
    learner = build_learner(recipe, registry())
    wrapped = LearnerNodes(
        recipe.model,
        {
            "one": ComponentNode("head", "naming", {"list": [tmp_path / "b" / "words.txt"]}),
            "two": ComponentNode(
                "head", "naming", {"deep": {"words": tmp_path / "a" / ".." / "a" / "words.txt"}}
            ),
            "three": ComponentNode("head", "naming", {"folder": tmp_path / "a"}),
        },
    )
    save_learner(learner.state_dict(), wrapped, tmp_path / "checkpoint")
    files = tmp_path / "checkpoint" / "files"
    assert sorted(str(path.relative_to(files)) for path in files.rglob("*")) == [
        "a",
        "a/words.txt",
        "words-2.txt",
        "words.txt",
    ]
    assert (files / "words.txt").read_text() == "a words"
    assert (files / "words-2.txt").read_text() == "b words"


def test_file_that_is_gone_when_saving(tmp_path: Path) -> None:
    learner = build_learner(nodes(), registry())
    with pytest.raises(
        CheckpointError, match=r"words\.txt: the learner was built from this file, and it is gone"
    ):
        save_learner(learner.state_dict(), nodes(words=tmp_path / "words.txt"), tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_replaces_an_earlier_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint", width=3)
    saved(tmp_path / "checkpoint", width=5)
    assert load_learner(tmp_path / "checkpoint", registry()).model.image.out_features == 5
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such checkpoint folder"):
        load_learner(tmp_path / "nowhere", registry())


def test_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint, learner\.json is missing"):
        load_learner(tmp_path, registry())


def test_missing_weights(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: there is no such weights file"):
        load_learner(tmp_path / "checkpoint", registry())


def test_missing_file(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("red")
    saved(tmp_path / "checkpoint", words=tmp_path / "words.txt")
    (tmp_path / "checkpoint" / "files" / "words.txt").unlink()
    with pytest.raises(CheckpointError, match=r"words\.txt: missing from the checkpoint"):
        load_learner(tmp_path / "checkpoint", registry())


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1, "model": {"use": "tiny"}}', "\xff"])
def test_damaged_description(tmp_path: Path, text: str) -> None:
    saved(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "learner.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"learner\.json: damaged"):
        load_learner(tmp_path / "checkpoint", registry())


def edit(folder: Path, **changed: Any) -> None:
    path = folder / "learner.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_newer_format(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint")
    edit(tmp_path / "checkpoint", format=2)
    with pytest.raises(CheckpointError, match="written in format 2, and this version of mmtk reads 1"):
        load_learner(tmp_path / "checkpoint", registry())


def test_component_that_is_not_installed(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint")
    edit(tmp_path / "checkpoint", heads={"itm": {"use": "itm"}})
    with pytest.raises(CheckpointError, match=r"learner\.json: the learner can't be rebuilt here: .*'itm'"):
        load_learner(tmp_path / "checkpoint", registry())


def test_weights_of_another_shape(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint", width=5)
    saved(tmp_path / "other", width=4)
    shutil.copy(tmp_path / "other" / "weights.safetensors", tmp_path / "checkpoint")
    with pytest.raises(CheckpointError) as caught:
        load_learner(tmp_path / "checkpoint", registry())
    assert "model.image.weight: shape (4, 3) in the file, (5, 3) in the model" in str(caught.value)


def test_damaged_weights(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged"):
        load_learner(tmp_path / "checkpoint", registry())


def with_transforms(folder: Path, words: Path) -> None:
    transforms = TransformNodes(
        ComponentNode("image_transform", "shrink", {"size": 4}),
        ComponentNode("text_transform", "replace", {"words": words}),
    )
    recipe = nodes()
    save_learner(build_learner(recipe, registry()).state_dict(), recipe, folder, transforms)


def test_the_transforms_of_training_are_kept_with_their_files(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("red")
    with_transforms(tmp_path / "checkpoint", words)
    words.unlink()
    found = load_transforms(tmp_path / "checkpoint", registry())
    assert found is not None
    assert found.image == ComponentNode("image_transform", "shrink", {"size": 4})
    copy = found.text.keys["words"]
    assert copy == tmp_path / "checkpoint" / "files" / "words.txt"
    assert copy.read_text() == "red"


def test_a_checkpoint_without_transforms_has_none(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint")
    assert load_transforms(tmp_path / "checkpoint", registry()) is None


def test_transforms_that_are_not_installed_are_asked_for_only_by_who_needs_them(tmp_path: Path) -> None:
    with_transforms(tmp_path / "checkpoint", Path(__file__))
    without = Registry(one for kind in ("model", "head") for one in registry().of_kind(kind))
    assert load_learner(tmp_path / "checkpoint", without)
    with pytest.raises(
        CheckpointError, match=r"how its samples are prepared.*unknown image_transform 'shrink'"
    ):
        load_transforms(tmp_path / "checkpoint", without)
