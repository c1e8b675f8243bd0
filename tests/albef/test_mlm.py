"""Masked language modelling against a plain reference, and what it computes how often."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_momentum.ema import MomentumEncoder

from mmtk.engine.learner import Learner
from mmtk.kinds import MatchingHead

from .parts import TEXTS, batch, state, tiny_learner


def prepared(epoch: float = 2.0, **settings: Any) -> tuple[Learner, Any]:
    """A learner in evaluation mode and a context whose momentum encoder differs from the model."""
    learner = tiny_learner(**settings).eval()
    momentum = MomentumEncoder(model=learner.model, queue_size=8)
    for parameter in momentum.twin.parameters():
        parameter.mul_(0.8)
    return learner, learner.model.context(batch(), state(epoch), momentum)


def plain_logits(towers: Any, image_embeds: torch.Tensor, masked: Any, mask: torch.Tensor) -> torch.Tensor:
    """All logits ``(B, L, V)``, text by text, without packing's shortcuts."""
    bert, rows = towers.text_transformer, []
    for row in range(len(masked.ids)):
        length = int(mask[row].sum())
        ids, real = masked.ids[row : row + 1, :length], mask[row : row + 1, :length]
        states = bert.encode(ids, real)
        states = bert.fuse(states, real, bert.image_keys_values(image_embeds[row : row + 1]))
        logits = towers.prediction(states[0], bert.embeddings.word.weight)
        rows.append(F.pad(logits, (0, 0, 0, mask.shape[1] - length)))
    return torch.stack(rows)


@pytest.mark.parametrize(("epoch", "alpha"), [(0.0, 0.0), (0.25, 0.1), (1.0, 0.4), (9.0, 0.4)])
def test_loss_equals_the_two_terms_of_the_paper(epoch: float, alpha: float) -> None:
    learner, context = prepared(epoch)
    head = learner.heads["mlm"]
    output, masked = head(context), head.masked(context)
    assert masked.chosen.sum() >= 4
    mask, twin = context.text.mask, context.momentum.twin
    online = plain_logits(learner.model.feature_towers(), context.image.embeds, masked, mask)[masked.chosen]
    slow = plain_logits(twin, twin.image_encoder(context.batch.images), masked, mask)[masked.chosen]
    hard = F.cross_entropy(online, context.text.ids[masked.chosen])
    soft = -(F.log_softmax(online, 1) * F.softmax(slow, 1)).sum(1).mean()
    assert output.loss.item() == pytest.approx(((1 - alpha) * hard + alpha * soft).item(), rel=1e-4)
    assert abs(hard - soft).item() > 1e-2


def test_without_momentum_the_targets_are_hard() -> None:
    learner = tiny_learner().eval()
    context = learner.model.context(batch(), state())
    head = learner.heads["mlm"]
    masked = head.masked(context)
    expected = F.cross_entropy(head.logits(context, masked), context.text.ids[masked.chosen])
    assert head(context).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_masks_depend_on_the_step() -> None:
    learner = tiny_learner()
    head = learner.heads["mlm"]
    first, again, later = (
        head.masked(learner.model.context(batch(), state(step=step))).chosen for step in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_a_batch_without_masked_words_costs_nothing() -> None:
    learner, context = prepared(probability=1e-9)
    output = learner.heads["mlm"](context)
    output.loss.backward()
    assert output.loss.item() == 0
    assert all(not p.grad.any() for p in learner.model.parameters() if p.grad is not None)


def test_no_gradient_reaches_the_momentum_encoder() -> None:
    learner, context = prepared()
    learner.heads["mlm"](context).loss.backward()
    assert all(parameter.grad is None for parameter in context.momentum.twin.parameters())
    assert learner.model.prediction.bias.grad.abs().sum() > 0
    assert learner.model.image_encoder.vit.patch_embed.proj.weight.grad.abs().sum() > 0


def test_the_heads_of_a_step_share_what_they_can() -> None:
    learner, context = prepared()
    counts: dict[str, int] = {}
    twin, bert = context.momentum.twin, learner.model.text_transformer

    def count(name: str) -> Any:
        return lambda *_: counts.update({name: counts.get(name, 0) + 1})

    learner.model.image_encoder.register_forward_hook(count("image encoder"))
    twin.image_encoder.register_forward_hook(count("slow image encoder"))
    bert.cross_attention[0].key.register_forward_hook(count("image keys"))
    bert.embeddings.register_forward_hook(count("text layers"))
    learner.model.prediction.register_forward_hook(
        lambda _, inputs, __: counts.update(predicted=counts.get("predicted", 0) + len(inputs[0]))
    )
    for head in learner.heads.values():
        head(context)
    chosen = int(learner.heads["mlm"].masked(context).chosen.sum())
    assert counts == {
        "image encoder": 1,
        "slow image encoder": 1,
        "image keys": 1,
        "text layers": 2,  # ITC and ITM read the same states; MLM reads masked texts
        "predicted": chosen,
    }


def test_matching_keeps_the_first_token_and_the_text_states() -> None:
    learner, context = prepared()
    head = learner.head_with(MatchingHead)
    own = torch.arange(len(TEXTS))
    logits = head.match_logits(context.image.select(own), context.text.select(own))
    bert = learner.model.text_transformer
    states = bert.encode(context.text.ids, context.text.mask)
    fused = bert.fuse(states, context.text.mask, bert.image_keys_values(context.image.embeds))
    torch.testing.assert_close(logits, head.classifier(fused[:, 0]))


def test_an_accumulated_step_counts_masked_words_and_not_batches() -> None:
    learner = tiny_learner().eval()
    head = learner.heads["mlm"]
    context = learner.model.context(batch(), state())
    assert head.terms(context) == int(head.masked(context).chosen.sum()) > 0
