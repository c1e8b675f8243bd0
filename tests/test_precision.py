"""BLIP's step in bfloat16 and float16: near float32, and sound where float16 overflows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmtk_momentum.ema import MomentumEncoder

from mmtk.engine.configs import PrecisionConfig
from mmtk.engine.learner import Learner
from mmtk.engine.loss_scale import LossScale
from mmtk.engine.schedules import Constant
from mmtk.engine.trainer import Trainer
from tests.blip.parts import batch, tiny_learner
from tests.training import plain_trainer


def trainer(autocast: Any, scale: float = 64.0) -> Trainer:
    learner = tiny_learner(seed=4).train()
    slow = MomentumEncoder(model=learner.model, momentum=0.5, queue_size=10)
    return plain_trainer(
        learner,
        slow,
        torch.optim.SGD(learner.parameters(), lr=1e-4),
        Constant(),
        seed=0,
        steps_per_epoch=100,
        total_steps=100,
        precision=PrecisionConfig(autocast=autocast),
        loss_scale=LossScale(autocast == "float16", scale),
    )


def on_cuda(trained: Trainer) -> None:
    trained.learner.to("cuda")
    trained.momentum.to("cuda")


@pytest.mark.parametrize(("autocast", "tolerance"), [("bfloat16", 2e-2), ("float16", 2e-3)])
def test_losses_are_near_those_of_float32(autocast: str, tolerance: float) -> None:
    exact, rounded = trainer("none"), trainer(autocast)
    for step in range(4):
        expected, found = exact.step([batch()], step), rounded.step([batch()], step)
        for name in ("loss/itc", "loss/itm", "loss/lm"):
            assert found[name] == pytest.approx(expected[name], rel=tolerance)
        assert found["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=5 * tolerance)
        assert found["loss"] != expected["loss"]


@pytest.mark.parametrize("autocast", ["bfloat16", "float16"])
def test_weights_queue_and_similarities_stay_float32(autocast: str) -> None:
    trained = trainer(autocast)
    seen: list[Any] = []
    trained.learner.heads["itc"].register_forward_hook(
        lambda _module, given, _found: seen.append((given[0].similarities, given[0].momentum_keys))
    )
    trained.step([batch()], 0)
    ((similarities, keys),) = seen
    assert {one.dtype for one in similarities[:4]} == {torch.float32}
    assert {parameter.dtype for parameter in trained.learner.parameters()} == {torch.float32}
    slow = trained.momentum
    assert {one.dtype for one in slow.state_dict().values() if one.is_floating_point()} == {torch.float32}
    images, texts, _, _ = slow.queue.contents()
    assert torch.equal(images, keys.image_features)
    for features in (images, texts):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(len(batch())), rtol=1e-5, atol=1e-5)


def test_an_overflow_halves_the_factor_and_changes_nothing_else() -> None:
    trained = trainer("float16", scale=2.0**24)
    before = {name: one.clone() for name, one in trained.learner.state_dict().items()}
    figures = trained.step([batch()], 0)
    assert not figures["gradient_norm"] < float("inf")
    assert trained.loss_scale.value == 2.0**23
    assert trained.loss_scale.overflows == 1
    assert all(torch.equal(one, before[name]) for name, one in trained.learner.state_dict().items())
    assert len(trained.momentum.queue) == 0
    steps = 1
    while not trained.step([batch()], steps)["gradient_norm"] < float("inf"):
        steps += 1
    assert 1 <= trained.loss_scale.overflows == steps < 24
    assert len(trained.momentum.queue) == len(batch())


def caption(learner: Learner) -> list[str]:
    from mmtk.types import Decoding

    learner.eval()
    with torch.no_grad():
        images = learner.model.encode_images(batch().images)
        assert images.embeds.dtype == torch.float32
        captions: list[str] = learner.heads["lm"].generate(images, Decoding(beams=1))  # type: ignore[operator]
    return captions


def test_a_learner_trained_in_bfloat16_writes_captions_in_float32() -> None:
    trained = trainer("bfloat16")
    trained.step([batch()], 0)
    assert len(caption(trained.learner)) == len(batch())


@pytest.mark.gpu
@pytest.mark.parametrize(("autocast", "tolerance"), [("bfloat16", 2e-2), ("float16", 2e-3)])
def test_losses_on_cuda_are_near_those_of_float32(autocast: str, tolerance: float) -> None:
    exact, rounded = trainer("none"), trainer(autocast)
    on_cuda(rounded)
    expected, found = exact.step([batch()], 0), rounded.step([batch().to("cuda")], 0)
    for name in ("loss/itc", "loss/itm", "loss/lm"):
        assert found[name] == pytest.approx(expected[name], rel=tolerance)
