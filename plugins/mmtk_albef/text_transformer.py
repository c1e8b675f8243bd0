"""ALBEF's BERT: lower layers read the text alone, upper layers fuse it with the image (ALBEF §3.1).

Shapes: ``R`` texts, ``L`` text tokens, ``B`` images, ``N`` image tokens, ``D`` width.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmtk_blip.api import (
    INITIAL_STD,
    CrossAttention,
    FeedForward,
    KeysValues,
    Packing,
    SelfAttention,
    Side,
    TextEmbeddings,
    TextEncoder,
    initialise_as_bert,
)
from torch import Tensor, nn


class AlbefBert(nn.Module):
    """BERT layers of which the upper ones have cross-attention between self-attention and feed-forward block.

    Public BERT weights have segment embeddings of which ALBEF only reads the first row; here that row is part
    of the position embeddings.

    Args:
        vocab_size: number of tokens.
        image_width: width of the image tokens that cross-attention reads.
        width: ``D``.
        text_depth: number of layers without cross-attention.
        fusion_depth: number of layers with it, above the others.
        heads: attention heads; divides ``width``.
        hidden_width: inner width of the feed-forward blocks.
        max_positions: longest text in tokens.
        dropout: BERT's hidden and attention dropout.
        init_std: standard deviation of the first weights.

    Attributes:
        adds_segment: says so to sources of BERT's weights.
    """

    adds_segment = True

    def __init__(
        self,
        *,
        vocab_size: int,
        image_width: int,
        width: int = 768,
        text_depth: int = 6,
        fusion_depth: int = 6,
        heads: int = 12,
        hidden_width: int = 3072,
        max_positions: int = 512,
        dropout: float = 0.1,
        init_std: float = INITIAL_STD,
    ) -> None:
        super().__init__()
        depth = text_depth + fusion_depth
        self.width = width
        self.text_depth = text_depth
        self.embeddings = TextEmbeddings(vocab_size, width, max_positions, dropout)
        self.self_attention = nn.ModuleList(SelfAttention(width, heads, dropout) for _ in range(depth))
        self.cross_attention = nn.ModuleList(
            CrossAttention(width, heads, dropout, image_width) for _ in range(fusion_depth)
        )
        self.feed_forward = nn.ModuleList(FeedForward(width, hidden_width, dropout) for _ in range(depth))
        initialise_as_bert(self, init_std)

    def stacked_layers(self) -> list[nn.Module]:
        """The blocks of all layers."""
        return [*self.self_attention, *self.cross_attention, *self.feed_forward]

    def text_encoder(self) -> TextEncoder:
        """Embeddings and text layers as a module that shares this one's weights."""
        below = slice(self.text_depth)
        return TextEncoder(self.embeddings, self.self_attention[below], self.feed_forward[below])

    def keys_values_side(self, side: Side) -> Side:  # noqa: ARG002
        """There is no decoder: all cross-attention is the encoder's."""
        return "encoder"

    def image_keys_values(self, embeds: Tensor, side: Side = "encoder") -> list[KeysValues]:  # noqa: ARG002
        """Image tokens ``(B, N, image_width)`` to the keys and values of each fusion layer."""
        return [block.keys_values(embeds) for block in self.cross_attention]  # type: ignore[operator]

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text layers: ids ``(R, L)`` int64 and mask ``(R, L)`` bool to states ``(R, L, D)``."""
        return self.text_encoder()(ids, mask)

    def fuse(self, states: Tensor, mask: Tensor, image: Sequence[KeysValues]) -> Tensor:
        """Fusion layers: states of the text layers ``(R, L, D)`` to states that saw the image, same shape.

        Args:
            states: what ``encode`` returned.
            mask: ``(R, L)`` bool; padding is left out of the work, and its states are zero.
            image: per fusion layer keys and values with ``R`` rows, or with ``R / k`` rows for ``k`` texts an
                image.
        """
        packing = Packing(mask)
        states = packing.pack(states)
        above = slice(self.text_depth, None)
        blocks = zip(
            self.self_attention[above],
            self.cross_attention,
            self.feed_forward[above],
            image,
            strict=True,
        )
        for attention, cross_attention, feed_forward, keys_values in blocks:
            states = attention(states, packing)
            states = feed_forward(cross_attention(states, keys_values, packing))
        return packing.unpack(states)
