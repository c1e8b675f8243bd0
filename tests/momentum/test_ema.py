"""The momentum encoder: its average, its freeze, its features, its queue and its state."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from mmtk_momentum.ema import MomentumEncoder
from torch import Tensor, nn

from mmtk.api import Batch, StepState, stable_hash
from mmtk.engine.weights import load_weights, save_weights

WIDTH, EMBED_DIM, WORDS = 6, 4, 11
STATE = StepState(step=0, epoch=0.0, total_steps=10, seed=0)


class Towers(nn.Module):
    """Two small towers with all that a copy has to get right: dropout, statistics and a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_dim = EMBED_DIM
        self.images = nn.Sequential(
            nn.Flatten(), nn.Linear(3, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, EMBED_DIM)
        )
        self.words = nn.Embedding(WORDS, EMBED_DIM)
        self.dropout = nn.Dropout(0.5)
        self.tied = nn.Linear(EMBED_DIM, WORDS, bias=False)
        self.tied.weight = self.words.weight

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        words = (self.words(ids) * mask[..., None]).sum(1)
        return F.normalize(self.images(images), dim=-1), F.normalize(self.dropout(words), dim=-1)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.towers = Towers()
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def feature_towers(self) -> nn.Module:
        return self.towers


def made(**settings: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model: Any = Model()
    return model, MomentumEncoder(model=model, **{"queue_size": 5, **settings})


def batch(count: int = 3, first: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(first)
    images = torch.randn(count, 3, 1, 1, generator=generator)
    ids = torch.arange(first, first + count)
    texts = tuple(f"a text {number}" for number in ids.tolist())
    return Batch(images, texts, ids, tuple(map(str, range(count))))


def text(count: int = 3) -> Any:
    ids = torch.arange(2 * count).reshape(count, 2) % WORDS
    return SimpleNamespace(ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))


def context(momentum: MomentumEncoder, data: Batch) -> Any:
    return SimpleNamespace(batch=data, momentum_keys=momentum.keys(data, text(len(data))))


def train_online(model: Model, seed: int) -> None:
    """Move every parameter and the statistics of the online towers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    model.towers.images(torch.randn(8, 3, 1, 1, generator=generator))


@settings(deadline=None, max_examples=25)
@given(momentum=st.floats(0, 1), steps=st.integers(0, 6))
def test_the_average_is_the_closed_form(momentum: float, steps: int) -> None:
    """After n steps: m^n start + (1 - m) sum over k of m^(n - k) online_k."""
    model, encoder = made(momentum=momentum)
    expected = [momentum**steps * start.clone() for start in model.towers.parameters()]
    for step in range(1, steps + 1):
        train_online(model, step)
        encoder.before_step(STATE)
        weight = (1 - momentum) * momentum ** (steps - step)
        expected = [
            total + weight * now for total, now in zip(expected, model.towers.parameters(), strict=True)
        ]
    for slow, wanted in zip(encoder.twin.parameters(), expected, strict=True):
        torch.testing.assert_close(slow, wanted, rtol=1e-4, atol=1e-5)


def test_image_tokens_that_the_towers_return_are_handed_on() -> None:
    model, encoder = made()
    assert encoder.keys(batch(), text()).image_embeds is None
    embeds = torch.ones(3, 2, WIDTH)

    class Wordy(Towers):
        def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
            return *super().forward(images, ids, mask), embeds

    model.towers = Wordy()
    keys = MomentumEncoder(model=model, queue_size=5).keys(batch(), text())
    assert keys.image_embeds is embeds
    assert keys.image_features.shape == (3, EMBED_DIM)


def test_buffers_are_copied_when_the_average_moves() -> None:
    model, encoder = made()
    before = copy.deepcopy(encoder.twin.state_dict())
    train_online(model, 1)
    assert torch.equal(encoder.twin.images[2].running_mean, before["images.2.running_mean"])
    encoder.before_step(STATE)
    for slow, fast in zip(encoder.twin.buffers(), model.towers.buffers(), strict=True):
        assert torch.equal(slow, fast)
    assert not torch.equal(encoder.twin.images[2].running_mean, before["images.2.running_mean"])
    assert encoder.twin.images[2].num_batches_tracked == 1


def test_the_average_moves_in_place_and_keeps_ties() -> None:
    model, encoder = made()
    places = [parameter.data_ptr() for parameter in encoder.twin.parameters()]
    train_online(model, 1)
    encoder.before_step(STATE)
    assert [parameter.data_ptr() for parameter in encoder.twin.parameters()] == places
    assert encoder.twin.tied.weight is encoder.twin.words.weight


def test_the_copy_is_frozen_and_stays_in_evaluation_mode() -> None:
    _model, encoder = made()
    for mode in (True, False, True):
        assert encoder.train(mode) is encoder
        assert encoder.training is mode
        assert not any(module.training for module in encoder.twin.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_online_towers_are_untouched_and_apart() -> None:
    model, encoder = made()
    online = {id(parameter) for parameter in model.parameters()}
    assert not online & {id(parameter) for parameter in encoder.parameters()}
    assert not {id(module) for module in model.modules()} & {id(module) for module in encoder.modules()}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.towers.training
    before = copy.deepcopy(model.state_dict())
    encoder.before_step(STATE)
    encoder.after_step([context(encoder, batch())])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_optimizer_step_does_not_reach_the_copy() -> None:
    model, encoder = made()
    before = copy.deepcopy(encoder.twin.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, texts = model.towers(batch().images, text().ids, text().mask)
    keys = encoder.keys(batch(), text())
    ((images @ keys.text_features.t()).sum() + (texts @ keys.image_features.t()).sum()).backward()
    optimizer.step()
    assert model.towers.words.weight.grad is not None
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.twin.state_dict().items())


def test_keys_are_the_copys_features_and_change_nothing() -> None:
    _model, encoder = made()
    encoder.train()
    encoder.after_step([context(encoder, batch(2, first=10))])
    before = copy.deepcopy(encoder.state_dict())
    first, second = encoder.keys(batch(), text()), encoder.keys(batch(), text())
    images, texts = encoder.twin(batch().images, text().ids, text().mask)
    for found, again, wanted in zip(first[:2], second[:2], (images, texts), strict=True):
        assert torch.equal(found, wanted)
        assert torch.equal(found, again)
        assert not found.requires_grad
    assert first.queued_image_features.shape == first.queued_text_features.shape == (2, EMBED_DIM)
    assert first.queued_image_ids.tolist() == [10, 11]
    assert first.queued_text_ids.tolist() == [stable_hash("a text 10"), stable_hash("a text 11")]
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("batches", [(2,), (3, 3), (5,), (4, 7), (12,)])
def test_any_batch_goes_with_any_queue(batches: Sequence[int]) -> None:
    _model, encoder = made(queue_size=5)
    first = 0
    pushed: list[int] = []
    for count in batches:
        data = batch(count, first)
        keys = encoder.keys(data, text(count))
        assert keys.queued_image_ids.sort().values.tolist() == pushed[-5:]
        encoder.after_step([context(encoder, data)])
        pushed += range(first, first + count)
        first += count
    images, texts, ids, text_ids = encoder.queue.contents()
    assert sorted(ids.tolist()) == pushed[-5:]
    assert text_ids.tolist() == [stable_hash(f"a text {number}") for number in ids.tolist()]
    torch.testing.assert_close(images.norm(dim=1), torch.ones(len(ids)))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(len(ids)))


def test_several_contexts_of_one_step_are_pushed_in_order() -> None:
    _model, encoder = made(queue_size=3)
    encoder.after_step([context(encoder, batch(2, 0)), context(encoder, batch(2, 2))])
    assert sorted(encoder.queue.contents()[2].tolist()) == [1, 2, 3]


def test_without_a_queue_nothing_is_pushed_and_no_features_are_asked_for() -> None:
    _model, encoder = made(queue_size=0)
    encoder.after_step([SimpleNamespace(batch=batch())])
    keys = encoder.keys(batch(), text())
    assert keys.queued_image_features.shape == (0, EMBED_DIM)
    assert keys.queued_image_ids.shape == keys.queued_text_ids.shape == (0,)


@pytest.mark.parametrize("queue_size", [0, 5])
def test_training_goes_on_exactly_after_a_restart(queue_size: int, tmp_path: Any) -> None:
    model, encoder = made(queue_size=queue_size)
    for step in range(3):
        train_online(model, step)
        encoder.before_step(STATE)
        encoder.after_step([context(encoder, batch(2, 2 * step))])
    save_weights(encoder, tmp_path / "momentum.safetensors")
    restored = MomentumEncoder(model=model, queue_size=queue_size)
    load_weights(restored, tmp_path / "momentum.safetensors")
    train_online(model, 9)
    for one in (encoder, restored):
        one.before_step(STATE)
        one.after_step([context(one, batch(4, 20))])
    found, wanted = restored.state_dict(), encoder.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_the_state_dict_holds_the_copy_and_the_queue_alone() -> None:
    model, encoder = made()
    twin = {name for name in encoder.state_dict() if name.startswith("twin.")}
    assert twin == {f"twin.{name}" for name in model.towers.state_dict()}
    assert all(name.startswith("queue.") for name in set(encoder.state_dict()) - twin)
    file = io.BytesIO()
    torch.save(encoder.state_dict(), file)
    file.seek(0)
    encoder.load_state_dict(torch.load(file, weights_only=True))
