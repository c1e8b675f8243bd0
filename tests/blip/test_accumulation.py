"""A step over several batches has the gradients of one that holds them all, where the losses allow it."""

from __future__ import annotations

import torch
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.losses import CrossEntropy
from mmtk_momentum.ema import MomentumEncoder
from torch import Tensor, nn

from mmtk.engine.learner import Learner
from mmtk.engine.schedules import Constant
from mmtk.types import Batch, Negatives
from tests.training import plain_trainer

from .parts import TEXTS, batch, tiny_learner

PARTS = ((0, 1), (1, 3), (3, 4))  # of different sizes and text lengths


def part(whole: Batch, first: int, end: int) -> Batch:
    return Batch(
        whole.images[first:end],
        whole.texts[first:end],
        whole.image_ids[first:end],
        whole.keys[first:end],
    )


def within_parts(text_to_image: Tensor, *_: object) -> Negatives:
    """Each row's mirror image within its part, whether the part comes alone or with the others."""
    rows = PARTS if len(text_to_image) == len(TEXTS) else ((0, len(text_to_image)),)
    mirrored = torch.cat([torch.arange(first, end).flip(0) for first, end in rows])
    return Negatives(mirrored, mirrored)


def gradients(learner: Learner, batches: list[Batch]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What a step on ``batches`` takes off each weight, and the step's figures."""
    before = {name: tensor.clone() for name, tensor in learner.named_parameters()}
    optimizer = torch.optim.SGD(learner.parameters(), lr=1.0)
    trainer = plain_trainer(learner, None, optimizer, Constant(), seed=0, steps_per_epoch=4, total_steps=8)
    figures = trainer.step(batches, 3)
    return {name: before[name] - tensor for name, tensor in learner.named_parameters()}, figures


def learner_of(name: str) -> Learner:
    learner = tiny_learner()
    learner.heads["itm"] = ItmHead(text_width=16, loss=CrossEntropy(), negatives=within_parts)
    nn.init.normal_(learner.heads["itm"].classifier.weight, generator=torch.Generator().manual_seed(0))
    return Learner(learner.model, {name: learner.heads[name]})


def assert_same_step(name: str) -> None:
    whole = batch()
    expected, expected_figures = gradients(learner_of(name), [whole])
    found, figures = gradients(learner_of(name), [part(whole, *rows) for rows in PARTS])
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-2
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-5, msg=key)
    for key, value in expected_figures.items():
        torch.testing.assert_close(figures[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_lm_counts_tokens_and_not_batches() -> None:
    assert_same_step("lm")


def test_itm_counts_pairs_and_not_batches() -> None:
    assert_same_step("itm")


def test_lm_says_how_many_tokens_it_will_predict() -> None:
    learner, whole = learner_of("lm"), batch()
    context = [learner.model.context(part(whole, *rows), None) for rows in PARTS]  # type: ignore[arg-type]
    terms = [learner.heads["lm"].terms(each) for each in context]
    # [SEP] is predicted, [DEC] is not; "dogs" is two tokens.
    assert terms == [4, 10 + 2, 10]


def test_momentum_queue_and_temperature_move_once_a_step() -> None:
    whole = batch()
    learner = tiny_learner()
    momentum = MomentumEncoder(model=learner.model, momentum=0.5, queue_size=7)
    learner = Learner(learner.model, {"itc": learner.heads["itc"]})
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.0)
    trainer = plain_trainer(
        learner, momentum, optimizer, Constant(), seed=0, steps_per_epoch=4, total_steps=8
    )
    with torch.no_grad():
        momentum.twin.image_projection.weight.zero_()
        learner.model.temperature.fill_(3.0)
    expected = learner.model.image_projection.weight / 2
    figures = trainer.step([part(whole, *rows) for rows in PARTS], 0)
    torch.testing.assert_close(momentum.twin.image_projection.weight, expected)
    assert figures["itc/temperature"] == 0.5
    images, _, image_ids, _ = momentum.queue.contents()
    assert image_ids.tolist() == whole.image_ids.tolist()
    ids, mask = learner.model.tokenizer(whole.texts)
    torch.testing.assert_close(images, momentum.twin(whole.images, ids, mask)[0])


def test_parts_of_a_step_draw_apart() -> None:
    seen: list[float] = []

    def drawing(text_to_image: Tensor, _i: Tensor, _m: Tensor, generator: torch.Generator) -> Negatives:
        seen.append(torch.rand(1, generator=generator).item())
        return within_parts(text_to_image)

    learner = tiny_learner()
    head = ItmHead(text_width=16, loss=CrossEntropy(), negatives=drawing)
    whole = batch()
    for parts in (PARTS, PARTS[:1]):
        gradients(Learner(learner.model, {"itm": head}), [part(whole, *rows) for rows in parts])
    assert len(set(seen[:3])) == 3
    assert seen[3] == seen[0]
