"""BERT's masking of words (arXiv 1810.04805, §3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmtk.api import Tokenizer

MASK_SHARE, RANDOM_SHARE = 0.8, 0.1  # of the chosen tokens; the rest stays as it is


@dataclass(frozen=True)
class Masked:
    """Texts with words to predict.

    Attributes:
        ids: ``(T, L)`` int64, what the model reads.
        chosen: ``(T, L)`` bool, the tokens to predict.
    """

    ids: Tensor
    chosen: Tensor


def maskable(ids: Tensor, mask: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Which tokens may be chosen: words, that is neither padding nor first nor last token; ``(T, L)`` bool.

    The public code spares padding and [CLS] only, so that it predicts [SEP] as well, from the text's length.
    """
    return mask & (ids != tokenizer.start_id) & (ids != tokenizer.end_id)


def mask_words(
    ids: Tensor,
    words: Tensor,
    *,
    probability: float,
    mask_id: int,
    vocab_size: int,
    generator: torch.Generator,
) -> Masked:
    """Choose words with ``probability``; 80% become [MASK], 10% a random token, 10% stay.

    Args:
        ids: ``(T, L)`` int64.
        words: ``(T, L)`` bool, which tokens may be chosen.
        probability: of each word to be chosen.
        mask_id: id of [MASK].
        vocab_size: random tokens are drawn from all of them.
        generator: CPU generator; equal generators give equal draws on every device.
    """
    draw, fate = torch.rand(2, *ids.shape, generator=generator).to(ids.device)
    random = torch.randint(vocab_size, ids.shape, generator=generator).to(ids.device)
    chosen = words & (draw < probability)
    masked = torch.where(chosen & (fate < MASK_SHARE), mask_id, ids)
    replaced = chosen & (fate >= MASK_SHARE) & (fate < MASK_SHARE + RANDOM_SHARE)
    return Masked(torch.where(replaced, random, masked), chosen)
