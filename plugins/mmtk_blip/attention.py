"""BERT's attention blocks (post-norm), over texts and from texts to images.

Shapes: ``R`` rows (texts), ``L`` text tokens, ``B`` images, ``N`` image tokens, ``D`` width, ``H`` heads,
``d = D / H``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-12


class KeysValues(NamedTuple):
    """Keys and values of one attention block, ``(rows, H, tokens, d)`` each."""

    keys: Tensor
    values: Tensor

    def select(self, index: Tensor) -> KeysValues:
        """The rows at ``index``, with repetitions."""
        return KeysValues(self.keys.index_select(0, index), self.values.index_select(0, index))


class Attention(nn.Module):
    """Multi-head attention, its output projection, dropout, residual and LayerNorm.

    Args:
        width: ``D`` of queries and output.
        heads: number of heads; divides ``width``.
        dropout: on attention weights and on the output projection, as BERT's.
        source_width: width of what keys and values are computed from; ``width`` for self-attention.
    """

    def __init__(self, width: int, heads: int, dropout: float, source_width: int | None = None) -> None:
        super().__init__()
        assert width % heads == 0, f"width {width} is no multiple of {heads} heads"
        source_width = width if source_width is None else source_width
        self.heads = heads
        self.attention_dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def keys_values(self, source: Tensor) -> KeysValues:
        """``(rows, tokens, source_width)`` to keys and values."""
        return KeysValues(self._split(self.key(source)), self._split(self.value(source)))

    def attend(self, states: Tensor, source: KeysValues, mask: Tensor | None, causal: bool = False) -> Tensor:
        """Attend from ``states`` ``(R, L, D)`` to ``source`` and return the normalised sum with the residual.

        Args:
            states: ``(R, L, D)``.
            source: keys and values with ``R`` rows, or with ``R / k`` rows where each serves ``k``
                consecutive rows of ``states`` (beams of one image).
            mask: bool, broadcastable to ``(R, H, L, tokens)``, True where attention is allowed.
            causal: token ``i`` attends to tokens up to ``i`` only; excludes ``mask``.
        """
        rows, length, width = states.shape
        query = self._split(self.query(states))
        groups = rows // source.keys.shape[0]
        if groups > 1:
            query = query.unflatten(0, (-1, groups)).transpose(1, 2).flatten(2, 3)
        mixed = F.scaled_dot_product_attention(
            query,
            source.keys,
            source.values,
            attn_mask=mask,
            dropout_p=self.attention_dropout if self.training else 0.0,
            is_causal=causal,
        )
        if groups > 1:
            mixed = mixed.unflatten(2, (groups, length)).transpose(1, 2).flatten(0, 1)
        mixed = mixed.transpose(1, 2).reshape(rows, length, width)
        return self.norm(self.dropout(self.output(mixed)) + states)

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SelfAttention(Attention):
    """Attention of a text to itself, with a cache for decoding one token at a time."""

    def forward(
        self, states: Tensor, mask: Tensor | None, causal: bool = False, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Return the new states ``(R, L, D)`` and the keys and values of ``past`` and ``states`` together."""
        present = self.keys_values(states)
        if past is not None:
            present = KeysValues(
                torch.cat((past.keys, present.keys), 2), torch.cat((past.values, present.values), 2)
            )
        return self.attend(states, present, mask, causal), present


class CrossAttention(Attention):
    """Attention of a text to its image, whose keys and values are computed beforehand."""

    def forward(self, states: Tensor, image: KeysValues) -> Tensor:
        """``(R, L, D)`` to ``(R, L, D)``."""
        return self.attend(states, image, mask=None)
