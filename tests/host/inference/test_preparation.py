from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from mmtk.builtin import mmtk_components
from mmtk.data.configs import CLIP_MEAN, CLIP_STD
from mmtk.data.images.transforms import BlipTest
from mmtk.engine.checkpoint import LearnerNodes, TransformNodes, save_learner
from mmtk.errors import CheckpointError
from mmtk.inference.preparation import preparation_of
from mmtk.recipe.build import from_plain
from mmtk.registry import Registration, Registry
from mmtk.types import ComponentNode
from tests.host.engine.tiny import TinyModel

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(Registration(one, "builtin", "mmtk", "1.0") for one in mmtk_components())


def checkpoint(folder: Path, registry: Registry, image: dict[str, Any] | None, text: dict[str, Any]) -> Path:
    transforms = image and TransformNodes(
        from_plain("image_transform", image, registry), from_plain("text_transform", text, registry)
    )
    nodes = LearnerNodes(ComponentNode("model", "tiny"), {})
    save_learner(TinyModel().state_dict(), nodes, folder, transforms or None)
    return folder


def same(one: BlipTest, other: BlipTest) -> bool:
    picture = Image.effect_noise((9, 7), 60).convert("RGB")
    return torch.equal(one(picture, torch.Generator()), other(picture, torch.Generator()))


def test_pictures_and_texts_are_prepared_as_in_training(tmp_path: Path, registry: Registry) -> None:
    image = {"use": "blip_train", "size": 12, "mean": list(MEAN), "std": list(STD), "flip": False}
    text = {"use": "blip_caption", "max_words": 2, "prompt": "a picture of"}
    folder = checkpoint(tmp_path / "checkpoint", registry, image, text)
    found = preparation_of(folder, registry, SimpleNamespace())
    assert same(found.image, BlipTest(12, MEAN, STD))
    assert found.text("One, TWO three!") == "a picture of one, two"
    assert found.prompt == "a picture of"
    assert same(preparation_of(folder, registry, SimpleNamespace(), 16).image, BlipTest(16, MEAN, STD))


def test_an_imported_checkpoint_is_taken_for_blips(tmp_path: Path, registry: Registry) -> None:
    folder = checkpoint(tmp_path / "checkpoint", registry, None, {})
    model = SimpleNamespace(image_encoder=SimpleNamespace(image_size=24))
    found = preparation_of(folder, registry, model)
    assert same(found.image, BlipTest(24, CLIP_MEAN, CLIP_STD))
    assert found.text("A cat.") == "a cat"
    assert found.prompt == ""


def test_a_size_that_nobody_knows_must_be_given(tmp_path: Path, registry: Registry) -> None:
    folder = checkpoint(tmp_path / "checkpoint", registry, None, {})
    model = SimpleNamespace(image_encoder=SimpleNamespace())
    with pytest.raises(CheckpointError, match="give it with --image-size"):
        preparation_of(folder, registry, model)
    assert preparation_of(folder, registry, model, 40).image.size == 40
