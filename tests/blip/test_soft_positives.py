"""ITC's targets for pairs of one image, as fine-tuning for retrieval needs them, computed independently.

BLIP's retrieval model marks every key of the same image in batch and queue as positive and shares the mass
evenly among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_blip.heads.itc import ItcHead
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.losses import CrossEntropy, SoftContrastive
from mmtk_momentum.ema import MomentumEncoder
from mmtk_momentum.negatives import Hardest, ItcWeighted, Random
from torch import Tensor

from mmtk.engine.learner import Learner

from .parts import TEXTS, batch, state, tiny_learner

Features = tuple[Tensor, Tensor]


def expected_loss(
    online: Features, slow: Features, queue: Features, ids: list[int], queued: list[int]
) -> float:
    """The mean over both directions and all rows of the cross-entropy to the mixed targets, row by row."""
    alpha, temperature, total = 0.4, 0.07, 0.0
    for direction in (0, 1):  # images to texts, texts to images
        keys = torch.cat((slow[1 - direction], queue[1 - direction]))
        for row, own in enumerate(ids):
            positive = [float(own == other) for other in [*ids, *queued]]
            hard = torch.tensor(positive) / sum(positive)
            soft = F.softmax(keys @ slow[direction][row] / temperature, 0)
            logs = F.log_softmax(keys @ online[direction][row] / temperature, 0)
            total -= float(((alpha * soft + (1 - alpha) * hard) * logs).sum())
    return total / (2 * len(ids))


@pytest.mark.parametrize("queue_size", [1, 3, 7, 9])
@pytest.mark.parametrize("last", [[4, 1, 1], [1, 1, 1], [9, 8, 7]])
def test_loss_with_ids_in_batch_and_queue_and_a_short_last_batch(queue_size: int, last: list[int]) -> None:
    learner = tiny_learner()
    momentum = MomentumEncoder(model=learner.model, queue_size=queue_size)
    with torch.no_grad():
        for parameter in momentum.twin.parameters():
            parameter.mul_(0.9)
    head = ItcHead(loss=SoftContrastive(), alpha=0.4, ramp_epochs=0)
    remembered: list[tuple[int, Tensor, Tensor]] = []
    steps: Sequence[list[int]] = ([1, 2, 1, 3], [4, 3, 1, 5], last)
    for ids in steps:
        own = batch(TEXTS[: len(ids)], ids)
        context = learner.model.context(own, state(), momentum)
        found = head(context).loss.item()
        with torch.no_grad():
            tokens = learner.model.tokenizer(own.texts)
            online = learner.model.feature_towers()(own.images, *tokens)
            slow = momentum.twin(own.images, *tokens)
        kept = remembered[-queue_size:]
        width = online[0].shape[1]
        queue = tuple(
            torch.stack([entry[side] for entry in kept]) if kept else torch.zeros(0, width) for side in (1, 2)
        )
        expected = expected_loss(online, slow, (queue[0], queue[1]), ids, [entry[0] for entry in kept])
        assert found == pytest.approx(expected, rel=1e-5)
        momentum.after_step([context])
        remembered += zip(ids, *slow, strict=True)


@pytest.mark.parametrize("sampler", [ItcWeighted(), Hardest(), Random()])
@pytest.mark.parametrize("negatives_from", ["rank", "all_ranks"])
def test_batch_of_one_image_alone_trains(sampler, negatives_from: str) -> None:
    learner = tiny_learner()
    head = ItmHead(text_width=16, loss=CrossEntropy(), negatives=sampler, negatives_from=negatives_from)
    momentum = MomentumEncoder(model=learner.model, queue_size=7)
    context = learner.model.context(batch(image_ids=[6, 6, 6, 6]), state(), momentum)
    both = Learner(learner.model, {"itc": learner.heads["itc"], "itm": head})
    losses = [part(context).loss for part in both.heads.values()]
    sum(losses).backward()
    assert all(loss.isfinite() for loss in losses)
    assert all(p.grad.isfinite().all() for p in both.parameters() if p.grad is not None)


def test_targets_of_all_equal_ids_are_even() -> None:
    learner = tiny_learner()
    context = learner.model.context(batch(image_ids=[6, 6, 6, 6]), state())
    logits = context.similarities.image_to_text
    expected = -(F.log_softmax(logits, 1).mean() + F.log_softmax(logits.t(), 1).mean()) / 2
    torch.testing.assert_close(learner.heads["itc"](context).loss, expected)
