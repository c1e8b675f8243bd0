"""BERT's attention blocks (post-norm), over texts and from texts to images.

Shapes: ``R`` rows (texts), ``L`` text tokens, ``T`` real tokens of all rows, ``B`` images, ``N`` image
tokens, ``D`` width, ``H`` heads, ``d = D / H``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmtk_blip.packing import Layout, Packing

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

    def keys_values(self, source: Tensor, packing: Layout | None = None) -> KeysValues:
        """``(rows, tokens, source_width)``, or ``(T, source_width)`` with ``packing``, to keys and values."""
        return KeysValues(self._rows(self.key(source), packing), self._rows(self.value(source), packing))

    def attend(
        self,
        states: Tensor,
        source: KeysValues,
        mask: Tensor | None,
        causal: bool = False,
        packing: Layout | None = None,
    ) -> Tensor:
        """Attend from ``states`` to ``source`` and return the normalised sum with the residual.

        Args:
            states: ``(R, L, D)``, or ``(T, D)`` with ``packing``; so is the result.
            source: keys and values with ``R`` rows, or with ``R / k`` rows where each serves ``k``
                consecutive rows of ``states`` (beams of one image).
            mask: bool, broadcastable to ``(R, H, L, tokens)``, True where attention is allowed.
            causal: token ``i`` attends to tokens up to ``i`` only; excludes ``mask``.
            packing: where the states' tokens stand in their rows.
        """
        query = self._rows(self.query(states), packing)
        rows, _, length, _ = query.shape
        groups = rows // source.keys.shape[0]
        if groups > 1:
            query = query.unflatten(0, (-1, groups)).transpose(1, 2).flatten(2, 3)
        mixed = self.mix(query, source, mask, causal)
        if groups > 1:
            mixed = mixed.unflatten(2, (groups, length)).transpose(1, 2).flatten(0, 1)
        mixed = mixed.transpose(1, 2).reshape(rows, length, -1)
        mixed = mixed if packing is None else packing.pack(mixed)
        return self.norm(self.dropout(self.output(mixed)) + states)

    def mix(self, query: Tensor, source: KeysValues, mask: Tensor | None, causal: bool) -> Tensor:
        """Values weighted by the attention of ``query`` ``(rows, H, L, d)``, of the query's shape.

        The fused kernel keeps no probabilities: Grad-CAM puts a plain computation in this method's place.
        """
        return F.scaled_dot_product_attention(
            query,
            source.keys,
            source.values,
            attn_mask=mask,
            dropout_p=self.attention_dropout if self.training else 0.0,
            is_causal=causal,
        )

    def _rows(self, states: Tensor, packing: Layout | None) -> Tensor:
        """``(R, L, D)``, or ``(T, D)`` with ``packing``, to ``(R, H, L, d)``."""
        rows = states if packing is None else packing.unpack(states)
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SelfAttention(Attention):
    """Attention of a text to itself."""

    def forward(self, states: Tensor, packing: Packing | None = None, causal: bool = False) -> Tensor:
        """``(R, L, D)``, or ``(T, D)`` with ``packing``, to states of the same shape.

        Args:
            states: of whole texts.
            packing: where the real tokens are; without ``causal`` only they are attended to.
            causal: as of ``attend``. Padding on the right, which no real token sees, then needs no mask.
        """
        mask = None if packing is None or causal else packing.mask[:, None, None, :]
        return self.attend(states, self.keys_values(states, packing), mask, causal, packing)


class CrossAttention(Attention):
    """Attention of a text to its image or question, whose keys and values are computed beforehand."""

    forward_methods = ("keys_values",)

    def forward(
        self,
        states: Tensor,
        source: KeysValues,
        packing: Layout | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """``(R, L, D)``, or ``(T, D)`` with ``packing``, to states of the same shape.

        ``source_mask`` is bool with the rows of ``source``, ``(rows, tokens)``; None attends to all of them.
        """
        mask = None if source_mask is None else source_mask[:, None, None, :]
        return self.attend(states, source, mask, packing=packing)
