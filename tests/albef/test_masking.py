"""Which words are masked, and by what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmtk_albef.masking import Masked, mask_words, maskable
from torch import Tensor

from .parts import WORDS, tokenizer

TEXTS = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=6
)


def mask(ids: Tensor, words: Tensor, probability: float, seed: int = 0) -> Masked:
    made = tokenizer()
    return mask_words(
        ids,
        words,
        probability=probability,
        mask_id=made.mask_id or 0,
        vocab_size=made.vocab_size,
        generator=torch.Generator().manual_seed(seed),
    )


@given(texts=TEXTS, probability=st.floats(0.01, 1), seed=st.integers(0, 2**32))
def test_only_words_are_chosen_and_only_the_chosen_change(
    texts: list[str], probability: float, seed: int
) -> None:
    made = tokenizer()
    ids, real = made(texts)
    before = ids.clone()
    masked = mask(ids, maskable(ids, real, made), probability, seed)
    assert torch.equal(ids, before)
    special = torch.isin(ids, torch.tensor([made.pad_id, made.start_id, made.end_id]))
    assert not (masked.chosen & special).any()
    assert torch.equal(masked.ids[~masked.chosen], ids[~masked.chosen])
    assert masked.ids.min() >= 0
    assert masked.ids.max() < made.vocab_size


@given(texts=TEXTS, seed=st.integers(0, 2**32))
def test_equal_generators_mask_alike(texts: list[str], seed: int) -> None:
    made = tokenizer()
    ids, real = made(texts)
    first, second = (mask(ids, maskable(ids, real, made), 0.5, seed) for _ in range(2))
    assert torch.equal(first.ids, second.ids)
    assert torch.equal(first.chosen, second.chosen)


@given(texts=TEXTS, seed=st.integers(0, 2**32))
def test_with_certainty_every_word_is_chosen(texts: list[str], seed: int) -> None:
    made = tokenizer()
    ids, real = made(texts)
    words = maskable(ids, real, made)
    assert torch.equal(mask(ids, words, 1.0, seed).chosen, words)
    assert words.sum() == sum(len(text.split()) for text in texts)


def test_shares() -> None:
    ids = torch.full((400, 500), 7)
    masked = mask(ids, torch.ones_like(ids).bool(), 0.15)
    share = masked.chosen.float().mean().item()
    changed = masked.ids[masked.chosen]
    random = (changed != tokenizer().mask_id) & (changed != 7)
    assert share == pytest.approx(0.15, abs=0.005)
    assert (changed == tokenizer().mask_id).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert random.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert changed.unique().tolist() == list(range(tokenizer().vocab_size))
