"""The ring behaves as a plain list that forgets its oldest entries, for any sizes."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmtk_momentum.queue import FeatureQueue
from torch import Tensor

EMBED_DIM = 3

Row = tuple[tuple[float, ...], tuple[float, ...], int, int]


def pairs(first: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``count`` pairs that differ from all others; their image ids count up from ``first``, text ids down."""
    ids = torch.arange(first, first + count)
    features = ids[:, None] + torch.arange(EMBED_DIM) / 10
    return features, -features, ids, -ids


def rows(images: Tensor, texts: Tensor, image_ids: Tensor, text_ids: Tensor) -> list[Row]:
    columns = (images.tolist(), texts.tolist(), image_ids.tolist(), text_ids.tolist())
    return [
        (tuple(image), tuple(text), image_id, text_id)
        for image, text, image_id, text_id in zip(*columns, strict=True)
    ]


@given(size=st.integers(0, 9), batches=st.lists(st.integers(0, 14), max_size=8))
def test_it_holds_the_last_pairs_of_any_batches(size: int, batches: list[int]) -> None:
    queue, first = FeatureQueue(size, EMBED_DIM), 0
    reference: list[Row] = []
    for count in batches:
        new = pairs(first, count)
        queue.push(*new)
        reference = [*reference, *rows(*new)]
        reference = reference[max(0, len(reference) - size) :]
        assert len(queue) == len(reference)
        assert sorted(rows(*queue.contents())) == sorted(reference)
        first += count


@given(size=st.integers(1, 9), batches=st.lists(st.integers(0, 14), max_size=8))
def test_the_next_pair_replaces_the_oldest(size: int, batches: list[int]) -> None:
    queue = FeatureQueue(size, EMBED_DIM)
    for number, count in enumerate(batches):
        queue.push(*pairs(100 * number, count))
    before = queue.contents()[2].tolist()
    queue.push(*pairs(10_000, 1))
    after = queue.contents()[2].tolist()
    gone = set(before) - set(after)
    assert gone == ({min(before)} if len(before) == size else set())
    assert set(after) == set(before) - gone | {10_000}


@given(
    size=st.integers(0, 7),
    early=st.lists(st.integers(0, 9), max_size=4),
    late=st.lists(st.integers(0, 9), max_size=4),
)
def test_a_restored_queue_goes_on_as_the_saved_one(size: int, early: list[int], late: list[int]) -> None:
    queue, other = FeatureQueue(size, EMBED_DIM), FeatureQueue(size, EMBED_DIM)
    for number, count in enumerate(early):
        queue.push(*pairs(100 * number, count))
    other.load_state_dict(copy.deepcopy(queue.state_dict()))
    for number, count in enumerate(late):
        queue.push(*pairs(1000 + 100 * number, count))
        other.push(*pairs(1000 + 100 * number, count))
    for mine, restored in zip(queue.contents(), other.contents(), strict=True):
        assert torch.equal(mine, restored)


def test_it_starts_empty_with_the_right_shapes() -> None:
    queue = FeatureQueue(4, EMBED_DIM)
    images, texts, *ids = queue.contents()
    assert len(queue) == 0
    assert images.shape == texts.shape == (0, EMBED_DIM)
    assert [(one.shape, one.dtype) for one in ids] == [((0,), torch.int64)] * 2


def test_its_state_is_named_for_what_it_holds() -> None:
    state = FeatureQueue(4, EMBED_DIM).state_dict()
    assert set(state) == {"_images", "_texts", "_image_ids", "_text_ids", "_pushed"}


def test_it_keeps_whole_63_bit_ids() -> None:
    queue = FeatureQueue(2, EMBED_DIM)
    images, texts, *_ids = pairs(0, 1)
    queue.push(images, texts, torch.tensor([2**63 - 1]), torch.tensor([2**63 - 2]))
    assert [ids.tolist() for ids in queue.contents()[2:]] == [[2**63 - 1], [2**63 - 2]]


def test_pushed_features_are_copies_without_gradient() -> None:
    queue = FeatureQueue(2, EMBED_DIM)
    images, texts, *ids = pairs(0, 2)
    images.requires_grad_()
    queue.push(images, texts, *ids)
    texts.zero_()
    assert not queue.contents()[0].requires_grad
    assert queue.contents()[1].abs().sum() > 0


def test_features_of_another_precision_are_taken() -> None:
    queue = FeatureQueue(2, EMBED_DIM)
    images, texts, *ids = pairs(1, 2)
    queue.push(images.to(torch.bfloat16), texts.to(torch.bfloat16), *ids)
    assert queue.contents()[0].dtype == torch.float32
    torch.testing.assert_close(queue.contents()[0], images, rtol=1e-2, atol=0)


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        FeatureQueue(3, EMBED_DIM).load_state_dict(FeatureQueue(4, EMBED_DIM).state_dict())
