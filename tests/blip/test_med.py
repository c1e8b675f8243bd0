"""MED itself: temperature, features and the towers that a momentum encoder copies."""

from __future__ import annotations

import copy

import pytest
import torch

from mmtk.engine.learner import Learner

from .parts import TEXTS, batch, state, tiny_learner


@pytest.fixture
def learner() -> Learner:
    return tiny_learner().eval()


@pytest.mark.parametrize(("value", "kept"), [(0.9, 0.5), (0.0, 0.001), (0.07, 0.07)])
def test_temperature_is_kept_within_bounds_before_a_step(learner: Learner, value: float, kept: float) -> None:
    with torch.no_grad():
        learner.model.temperature.fill_(value)
    learner.model.before_step(state())
    assert learner.model.temperature.item() == pytest.approx(kept)


def test_reading_a_context_does_not_touch_the_temperature(learner: Learner) -> None:
    with torch.no_grad():
        learner.model.temperature.fill_(0.9)
    assert learner.model.context(batch(), state()).similarities.image_to_text.shape == (4, 4)
    assert learner.model.temperature.item() == pytest.approx(0.9)


def test_towers_give_the_models_features(learner: Learner) -> None:
    model = learner.model
    texts = model.encode_texts(TEXTS)
    image_features, text_features = model.feature_towers()(batch().images, texts.ids, texts.mask)
    torch.testing.assert_close(image_features, model.encode_images(batch().images).features)
    torch.testing.assert_close(text_features, texts.features)


def test_towers_share_parameters_and_their_copy_does_not(learner: Learner) -> None:
    towers = learner.model.feature_towers()
    twin = copy.deepcopy(towers)
    own = {id(parameter) for parameter in learner.parameters()}
    assert all(id(parameter) in own for parameter in towers.parameters())
    assert not any(id(parameter) in own for parameter in twin.parameters())
    before = twin.text_projection.weight.clone()
    with torch.no_grad():
        learner.model.text_projection.weight.add_(1)
    assert torch.equal(twin.text_projection.weight, before)
    assert torch.equal(towers.text_projection.weight, before + 1)


def test_asking_for_towers_adds_nothing_to_the_model(learner: Learner) -> None:
    names = list(learner.state_dict())
    learner.model.feature_towers()
    learner.model.encode_images(batch().images)
    assert list(learner.state_dict()) == names


def test_state_dict_holds_every_tensor_once(learner: Learner) -> None:
    tensors = learner.state_dict().values()
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)


def test_a_fixed_temperature_has_no_gradient() -> None:
    model = tiny_learner().model
    model.temperature.requires_grad_(False)
    model.context(batch(), state()).similarities.image_to_text.sum().backward()
    assert model.temperature.grad is None
    assert model.image_projection.weight.grad is not None


def test_a_learner_survives_copying(learner: Learner) -> None:
    twin = copy.deepcopy(learner)
    found, expected = (
        [head(each.model.context(batch(), state())).loss for head in each.heads.values()]
        for each in (twin, learner)
    )
    torch.testing.assert_close(found, expected)
