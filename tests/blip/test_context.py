"""The forward context: similarities with and without a momentum encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_blip.encodings import TextEncoding

from mmtk.types import Batch, MomentumKeys

from .parts import batch, state, tiny_learner


class RandomMomentum:
    """Offers random unit-norm features, and counts how often it is asked."""

    def __init__(self, queued: int) -> None:
        self.calls = 0
        self.queued = queued

    def keys(self, batch: Batch, text: TextEncoding) -> MomentumKeys:
        assert len(text) == len(batch)
        self.calls += 1
        generator = torch.Generator().manual_seed(0)
        sizes = (len(batch), len(batch), self.queued, self.queued)
        features = [F.normalize(torch.randn(size, 8, generator=generator), dim=-1) for size in sizes]
        return MomentumKeys(*features, torch.arange(100, 100 + self.queued))


def test_without_momentum_the_batch_is_the_keys() -> None:
    learner = tiny_learner()
    context = learner.model.context(batch(image_ids=[4, 5, 6, 7]), state())
    similarities = context.similarities
    expected = context.image.features @ context.text.features.t() / 0.07
    torch.testing.assert_close(similarities.image_to_text, expected)
    torch.testing.assert_close(similarities.text_to_image, expected.t())
    assert similarities.teacher_image_to_text is None
    assert similarities.teacher_text_to_image is None
    assert similarities.key_image_ids.tolist() == [4, 5, 6, 7]


def test_with_momentum_the_queue_follows_the_batch() -> None:
    learner, momentum = tiny_learner(), RandomMomentum(queued=3)
    context = learner.model.context(batch(image_ids=[4, 5, 6, 7]), state(), momentum)
    similarities, keys = context.similarities, context.momentum_keys
    for found, features, own, queued in (
        (similarities.image_to_text, context.image.features, keys.text_features, keys.queued_text_features),
        (similarities.text_to_image, context.text.features, keys.image_features, keys.queued_image_features),
        (
            similarities.teacher_image_to_text,
            keys.image_features,
            keys.text_features,
            keys.queued_text_features,
        ),
        (
            similarities.teacher_text_to_image,
            keys.text_features,
            keys.image_features,
            keys.queued_image_features,
        ),
    ):
        torch.testing.assert_close(found[:, :4], features @ own.t() / 0.07)
        torch.testing.assert_close(found[:, 4:], features @ queued.t() / 0.07)
    assert similarities.key_image_ids.tolist() == [4, 5, 6, 7, 100, 101, 102]


def test_the_teacher_has_no_gradient() -> None:
    learner = tiny_learner()
    similarities = learner.model.context(batch(), state(), RandomMomentum(2)).similarities
    assert similarities.image_to_text.requires_grad
    assert not similarities.teacher_image_to_text.requires_grad
    assert not similarities.teacher_text_to_image.requires_grad


def test_an_empty_queue_leaves_the_batch() -> None:
    similarities = tiny_learner().model.context(batch(), state(), RandomMomentum(0)).similarities
    assert similarities.image_to_text.shape == (4, 4)


def test_everything_is_computed_once() -> None:
    momentum = RandomMomentum(2)
    context = tiny_learner().model.context(batch(), state(), momentum)
    assert context.similarities is context.similarities
    assert context.image is context.image
    assert context.text is context.text
    assert momentum.calls == 1
