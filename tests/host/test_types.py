"""A batch's ids of its texts."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmtk.types import Batch, stable_hash


def batch(texts: list[str]) -> Batch:
    count = len(texts)
    return Batch(torch.zeros(count, 3, 2, 2), tuple(texts), torch.arange(count), ("key",) * count)


@given(st.lists(st.text(max_size=5), max_size=8))
def test_texts_have_equal_ids_if_and_only_if_they_are_equal(texts: list[str]) -> None:
    ids = batch(texts).text_ids
    assert ids.dtype == torch.int64
    assert ids.shape == (len(texts),)
    for row, text in enumerate(texts):
        assert (ids == ids[row]).tolist() == [text == other for other in texts]


def test_ids_of_texts_are_the_same_on_every_machine() -> None:
    assert batch(["a red cat"]).text_ids.tolist() == [stable_hash("a red cat")] == [5708784561967246333]


def test_ids_of_texts_are_hashed_once_and_follow_the_batch() -> None:
    pairs = batch(["a red cat", "an owl"])
    assert pairs.text_ids is pairs.text_ids
    moved = pairs.to("meta")
    assert moved.text_ids.device == moved.image_ids.device == torch.device("meta")
    assert moved.text_ids.shape == (2,)
