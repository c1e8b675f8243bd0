"""The forward context: similarities with and without a momentum encoder."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from mmtk_blip.context import matching_pairs
from mmtk_blip.encodings import TextEncoding
from torch import Tensor

from mmtk.types import Batch, MomentumKeys, stable_hash

from .parts import batch, state, tiny_learner


class RandomMomentum:
    """Offers random unit-norm features, and counts how often it is asked.

    The queued pairs have images of their own, and texts of their own unless ``texts`` gives them.
    """

    def __init__(self, queued: int, texts: Sequence[str] | None = None) -> None:
        self.calls = 0
        self.queued = queued
        self.texts = texts or [f"queued text {index}" for index in range(queued)]

    def keys(self, batch: Batch, text: TextEncoding) -> MomentumKeys:
        assert len(text) == len(batch)
        self.calls += 1
        generator = torch.Generator().manual_seed(0)
        sizes = (len(batch), len(batch), self.queued, self.queued)
        features = [F.normalize(torch.randn(size, 8, generator=generator), dim=-1) for size in sizes]
        text_ids = torch.tensor([stable_hash(text) for text in self.texts], dtype=torch.int64)
        return MomentumKeys(*features, torch.arange(100, 100 + self.queued), text_ids)


def test_without_momentum_the_batch_is_the_keys() -> None:
    learner = tiny_learner()
    context = learner.model.context(batch(image_ids=[4, 5, 6, 7]), state())
    similarities = context.similarities
    expected = context.image.features @ context.text.features.t() / 0.07
    torch.testing.assert_close(similarities.image_to_text, expected)
    torch.testing.assert_close(similarities.text_to_image, expected.t())
    assert similarities.teacher_image_to_text is None
    assert similarities.teacher_text_to_image is None
    assert torch.equal(similarities.matching, torch.eye(4, dtype=torch.bool))


def test_with_momentum_the_queue_follows_the_batch() -> None:
    learner, momentum = tiny_learner(), RandomMomentum(queued=3)
    context = learner.model.context(batch(image_ids=[4, 5, 101, 4]), state(), momentum)
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
    assert similarities.matching.int().tolist() == [
        [1, 0, 0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 1, 0],
        [1, 0, 0, 1, 0, 0, 0],
    ]


PAIR_LISTS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["a cat", "an owl", "a car"])), max_size=6)


@given(own=PAIR_LISTS, queued=PAIR_LISTS, same_text=st.booleans(), with_keys=st.booleans())
def test_pairs_match_by_image_and_by_text_if_asked(
    own: list[tuple[int, str]], queued: list[tuple[int, str]], same_text: bool, with_keys: bool
) -> None:
    keys = MomentumKeys(*[torch.empty(0)] * 4, *_ids(queued)) if with_keys else None
    image_ids, _text_ids = _ids(own)
    pairs = Batch(torch.empty(len(own), 0), tuple(text for _, text in own), image_ids, ("",) * len(own))
    matching = matching_pairs(pairs, keys, same_text=same_text)
    columns = own + queued if with_keys else own
    assert matching.shape == (len(own), len(columns))
    assert matching.dtype == torch.bool
    for row, (image, text) in enumerate(own):
        expected = [image == other or (same_text and text == words) for other, words in columns]
        assert matching[row].tolist() == expected
    square = matching[:, : len(own)]
    assert torch.equal(square, square.t())
    assert square.diagonal().all()


def _ids(pairs: list[tuple[int, str]]) -> tuple[Tensor, Tensor]:
    return (
        torch.tensor([image for image, _ in pairs], dtype=torch.int64),
        torch.tensor([stable_hash(text) for _, text in pairs], dtype=torch.int64),
    )


@pytest.mark.parametrize("same_text_matches", [False, True])
def test_the_models_option_decides_about_equal_texts(same_text_matches: bool) -> None:
    model = tiny_learner(same_text_matches=same_text_matches).model
    pairs = batch(texts=("owl", "a cat", "owl", "a dog"))
    momentum = RandomMomentum(queued=2, texts=["a dog", "a tree"])
    found = model.context(pairs, state(), momentum).similarities.matching.nonzero().tolist()
    by_text = [[0, 2], [2, 0], [3, 4]] if same_text_matches else []
    assert found == sorted([[0, 0], [1, 1], [2, 2], [3, 3], *by_text])


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
