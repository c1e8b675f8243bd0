from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mmtk.engine.learner import Learner
from mmtk.engine.loss_scale import LossScale
from mmtk.engine.schedules import Constant, WarmupCosine
from mmtk.engine.trainer import Trainer, chance_losses
from mmtk.errors import StageError
from mmtk.types import HeadOutput, StepState
from tests.host.engine.tiny import NamingHead, NoisyHead, TinyModel, TinyMomentum, batch
from tests.training import plain_trainer


def trainer(
    *, dropout: float = 0.0, momentum: bool = True, heads: dict[str, nn.Module] | None = None, **options: Any
) -> Trainer:
    torch.manual_seed(0)
    model = TinyModel(dropout=dropout)
    learner = Learner(model, heads or {"naming": NamingHead(model=model), "noisy": NoisyHead(model=model)})
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.5)
    keys: dict[str, Any] = {
        "schedule": Constant(),
        "seed": 3,
        "steps_per_epoch": 4,
        "total_steps": 8,
    } | options
    schedule = keys.pop("schedule")
    slow = TinyMomentum(model=model) if momentum else None
    return plain_trainer(learner, slow, optimizer, schedule, **keys)


class Broken(nn.Module):
    """A head whose loss or gradient is not a number."""

    def __init__(self, *, in_gradient: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.in_gradient = in_gradient

    def forward(self, _: Any) -> HeadOutput:
        loss = self.weight.sqrt().sum() if self.in_gradient else (self.weight / 0).sum()
        return HeadOutput(loss, {})


class Normed(nn.Module):
    """A head with batch norm, and a factor on its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.factor = 1.0

    def forward(self, context: Any) -> HeadOutput:
        return HeadOutput(self.factor * self.norm(context.image).square().mean(), {})


class Sampling(nn.Module):
    """A part of a head that wants to know the step, as a sampler of negatives may."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int]] = []

    def before_step(self, state: StepState) -> None:
        self.told.append((state.step, state.total_steps))


class SamplingHead(NamingHead):
    """Holds a part, and is told the step itself."""

    def __init__(self, *, model: TinyModel) -> None:
        super().__init__(model=model)
        self.sampler = Sampling()
        self.told: list[int] = []

    def before_step(self, state: StepState) -> None:
        assert [step for step, _ in self.sampler.told] == self.told, "the head comes before its parts"
        self.told.append(state.step)


def test_parts_of_heads_are_told_the_step_once_and_behind_them() -> None:
    model = TinyModel()
    head = SamplingHead(model=model)
    learner = Learner(model, {"sampling": head})
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.5)
    trained = plain_trainer(learner, None, optimizer, Constant(), seed=3, steps_per_epoch=4, total_steps=8)
    for step in range(2):
        trained.step([batch()], step)
    assert head.told == model.steps_begun == [0, 1]
    assert head.sampler.told == [(0, 8), (1, 8)]


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one | other)


def test_figures_of_a_step() -> None:
    figures = trainer().step([batch()], 0)
    assert set(figures) == {"loss", "loss/naming", "loss/noisy", "naming/accuracy", "gradient_norm", "lr"}
    assert figures["loss"] == pytest.approx(figures["loss/naming"] + figures["loss/noisy"])
    assert 0 <= figures["naming/accuracy"] <= 1
    assert figures["lr"] == 0.5
    assert figures["gradient_norm"] > 0


def test_loss_goes_down() -> None:
    trained = trainer(schedule=lambda *_: 0.2)
    losses = [trained.step([batch()], step)["loss/naming"] for step in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_order_of_hooks_and_shared_context() -> None:
    trained = trainer()
    contexts: list[Any] = []
    trained.learner.heads["naming"].register_forward_hook(lambda _m, args, _o: contexts.append(args[0]))
    trained.step([batch()], 5)
    assert trained.learner.model.steps_begun == [5]
    assert trained.momentum.calls == ["before 5", "after 1"]
    assert contexts[0].reads == ["image"]  # two heads and the momentum queue read it; it was computed once
    assert contexts[0].momentum is trained.momentum
    assert (contexts[0].state.epoch, contexts[0].state.total_steps, contexts[0].state.seed) == (1.25, 8, 3)


def test_momentum_moves_before_the_optimizer() -> None:
    trained = trainer()
    online = trained.learner.model.image.weight.detach().clone()
    with torch.no_grad():
        trained.momentum.twin.weight.zero_()
    trained.step([batch()], 0)
    torch.testing.assert_close(trained.momentum.twin.weight, 0.1 * online)
    assert not torch.equal(trained.learner.model.image.weight, online)


def test_model_hook_runs_before_the_forward_pass() -> None:
    trained = trainer()
    with torch.no_grad():
        trained.learner.model.temperature.fill_(9.0)
    seen: list[float] = []
    trained.learner.heads["naming"].register_forward_hook(
        lambda _m, args, _o: seen.append(args[0].model.temperature.item())
    )
    trained.step([batch()], 0)
    assert seen == [0.5]


def test_step_depends_on_seed_and_step_alone() -> None:
    one, other = trainer(dropout=0.5), trainer(dropout=0.5)
    one.step([batch()], 0)
    torch.rand(7)  # somebody else draws from the global generator
    other.step([batch()], 0)
    assert same(state_of(one.learner), state_of(other.learner))

    changed = trainer(dropout=0.5)
    changed.step([batch()], 1)
    assert not same(state_of(one.learner), state_of(changed.learner))


def test_schedule_scales_each_groups_peak() -> None:
    trained = trainer(schedule=WarmupCosine(warmup_steps=4))
    trained.optimizer.param_groups[0]["lr"] = (
        123.0  # what a loaded state would hold; the peak was taken before
    )
    assert [trained.step([batch()], step)["lr"] for step in (0, 1, 2, 4)] == pytest.approx(
        [0.0, 0.125, 0.25, 0.5]
    )


def test_clipping_shortens_the_gradient_and_reports_its_length() -> None:
    free, clipped = trainer(), trainer(clip_norm=0.01)
    before = state_of(free.learner)
    norms = free.step([batch()], 0)["gradient_norm"], clipped.step([batch()], 0)["gradient_norm"]
    assert norms[0] == norms[1] > 0.01

    def moved(trained: Trainer) -> float:
        after = trained.learner.state_dict()
        squares = sum(
            (after[name] - before[name]).square().sum() for name, _ in trained.learner.named_parameters()
        )
        return math.sqrt(squares)

    assert moved(free) == pytest.approx(0.5 * norms[0], rel=1e-3)
    assert moved(clipped) == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_loose_clip_norm_changes_nothing() -> None:
    free, clipped = trainer(), trainer(clip_norm=1e6)
    free.step([batch()], 0)
    clipped.step([batch()], 0)
    assert same(state_of(free.learner), state_of(clipped.learner))


@pytest.mark.parametrize("in_gradient", [False, True])
def test_non_finite_step_is_not_taken(in_gradient: bool) -> None:
    torch.manual_seed(0)
    model = TinyModel()
    trained = trainer(heads={"naming": NamingHead(model=model), "bad": Broken(in_gradient=in_gradient)})
    before = state_of(trained.learner)
    with pytest.raises(StageError) as caught:
        trained.step([batch(10)], 6)
    message = str(caught.value)
    assert message.startswith("step 7: ")
    assert ("heads.bad.weight" if in_gradient else "head 'bad' gave nan") in message
    assert "naming" not in message
    assert "sample0, sample1" in message
    assert "… (10 in all)" in message
    assert same(before, state_of(trained.learner))
    assert "after 1" not in trained.momentum.calls


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_statistics_of_a_step_that_is_not_taken_are_forgotten(precision: str) -> None:
    torch.manual_seed(0)
    trained = trainer(heads={"normed": Normed()}, loss_scale=LossScale(enabled=precision == "float16"))
    trained.step([batch()], 0)
    before = state_of(trained.learner)
    if precision == "float32":
        with pytest.raises(StageError):
            trained.step([batch(), batch(value=math.nan)], 1)
    else:
        trained.learner.heads["normed"].factor = 1e36  # finite, but not with its scale
        assert not math.isfinite(trained.step([batch(value=0.1)], 1)["gradient_norm"])
    assert same(before, state_of(trained.learner))
    trained.learner.heads["normed"].factor = 1.0
    trained.step([batch(value=0.1)], 2)
    assert not torch.equal(
        before["heads.normed.norm.running_mean"], trained.learner.heads["normed"].norm.running_mean
    )


def test_keys_in_a_message_cannot_act_on_a_terminal() -> None:
    torch.manual_seed(0)
    trained = trainer(heads={"bad": Broken(in_gradient=False)})
    hostile = replace(batch(2), keys=("a\x1b[2J", "b\u202e\nc"))
    with pytest.raises(StageError) as caught:
        trained.step([hostile], 0)
    assert str(caught.value).endswith(r"The batch: a\x1b[2J, b\u202e\nc")


def test_no_momentum_encoder() -> None:
    assert trainer(momentum=False).step([batch()], 0)["loss"] > 0


def test_frozen_parameters_get_no_gradient() -> None:
    trained = trainer()
    trained.learner.model.image.requires_grad_(False)
    before = trained.learner.model.image.weight.clone()
    trained.step([batch()], 0)
    assert torch.equal(trained.learner.model.image.weight, before)
    assert trained.learner.model.image.weight.grad is None


def test_chance_losses_are_those_the_heads_name() -> None:
    assert chance_losses(trainer().learner.heads) == {"naming": 1.3863}
