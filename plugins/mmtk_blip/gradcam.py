"""Grad-CAM of words over a picture: where attention to it raises the match, as ALBEF and LAVIS show it.

Shapes: ``R`` texts, each with a picture of its own, ``L`` text tokens, ``N`` image tokens, ``H`` heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmtk.api import CheckpointError, RecipeError
from mmtk_blip.attention import Attention, KeysValues

# LAVIS's demo of BLIP looks at block 7 of 12, counted from 0; ALBEF's at the third of its six fusion layers.
PUBLIC_BLOCKS, PUBLIC_DEPTH = 8, 12


class Relevance(NamedTuple):
    """What ``relevance`` finds.

    Attributes:
        logits: ``(R, 2)`` of [no match, match], those of the ordinary forward pass.
        weights: ``(R, L, N)`` float32, not negative.
    """

    logits: Tensor
    weights: Tensor


def relevance(block: Attention, match: Callable[[], Tensor]) -> Relevance:
    """Attention probabilities of ``block``, times what each raises the match logit by, mean over heads.

    Args:
        block: a cross-attention that runs once in ``match``, with ``R`` texts and ``R`` pictures.
        match: computes ``(R, 2)`` logits. No gradient is left on any parameter.
    """
    with torch.inference_mode(False), torch.enable_grad(), _explicit(block) as seen:
        logits = match()
        (probabilities,) = seen
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), probabilities)
    weights = (probabilities.detach() * gradient.clamp(min=0)).mean(1)
    return Relevance(logits.detach(), weights.float())


@contextmanager
def _explicit(block: Attention) -> Iterator[list[Tensor]]:
    """Have ``block`` compute its probabilities ``(R, H, L, N)`` and yield a list that they are put into.

    They become leaves: what lies before them has no part in their gradient.
    """
    seen: list[Tensor] = []

    def mix(query: Tensor, source: KeysValues, mask: Tensor | None, causal: bool) -> Tensor:
        assert mask is None, "a picture has no padding"
        assert not causal, "a picture has no order"
        scores = query @ source.keys.transpose(-1, -2) / math.sqrt(query.shape[-1])
        seen.append(scores.softmax(-1).detach().requires_grad_())
        return seen[-1] @ source.values

    block.mix = mix  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del block.mix


def layer_to_look_at(depth: int, layer: int | None) -> int:
    """The cross-attention layer to take, counted from 0; None is two thirds up, as LAVIS's 7 of 12.

    In the last layer a word's attention only changes its own state, which the match isn't read from.

    Raises:
        CheckpointError: there are fewer than two layers.
        RecipeError: ``layer`` is not below the last.
    """
    if depth < 2:
        raise CheckpointError(
            "Grad-CAM needs two layers of cross-attention or more, and the model has "
            f"{depth}: in the last one no word's attention reaches the match"
        )
    if layer is None:
        return max(round(depth * PUBLIC_BLOCKS / PUBLIC_DEPTH) - 1, 0)
    if not 0 <= layer < depth - 1:
        raise RecipeError(
            f"layer {layer}: the model has {depth} layers of cross-attention; Grad-CAM can look at 0 to "
            f"{depth - 2}, because in the last one no word's attention reaches the match"
        )
    return layer


def check_model(model: Any) -> None:
    """Raises CheckpointError when ``model`` lacks what word maps need, and says what."""
    parts = {
        "cross-attention to the picture": (getattr(model, "text_transformer", None), "cross_attention"),
        "an image encoder that says the grid of its tokens": (getattr(model, "image_encoder", None), "grid"),
        "a tokenizer that says its words": (getattr(model, "tokenizer", None), "words"),
    }
    lacking = [what for what, (part, name) in parts.items() if not hasattr(part, name)]
    if lacking:
        raise CheckpointError(
            f"Grad-CAM can't look into {type(model).__name__}: it lacks {', '.join(lacking)}"
        )
