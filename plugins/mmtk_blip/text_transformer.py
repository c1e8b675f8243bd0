"""MED's text transformer: one set of BERT layers in three modes (BLIP §3.1).

Shapes: ``R`` texts, ``L`` text tokens, ``B`` images, ``N`` image tokens, ``D`` width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from mmtk_blip.attention import CrossAttention, KeysValues, SelfAttention
from mmtk_blip.layers import INITIAL_STD, FeedForward, TextEmbeddings, initialise_as_bert
from mmtk_blip.packing import Packing

Side = Literal["encoder", "decoder"]
Source = Literal["image", "question"]
Sharing = Literal["all", "all_but_sa", "all_but_ca", "none"]

LARGEST_PADDING = 2  # rows by image against rows by text; beyond it copying an image's keys takes less memory

Part = Literal["embeddings", "self_attention", "cross_attention", "feed_forward"]

# What the decoder has of its own (BLIP table 3; the 361M parameters of "none" count its embeddings twice).
DECODERS_OWN: dict[Sharing, frozenset[Part]] = {
    "all": frozenset(),
    "all_but_sa": frozenset({"self_attention"}),
    "all_but_ca": frozenset({"cross_attention"}),
    "none": frozenset({"embeddings", "self_attention", "cross_attention", "feed_forward"}),
}


class TextEncoder(nn.Module):
    """The bidirectional text-only mode, as a module of its own.

    It holds the transformer's own embeddings, self-attention and feed-forward blocks, not copies.
    """

    def __init__(
        self, embeddings: TextEmbeddings, self_attention: nn.ModuleList, feed_forward: nn.ModuleList
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.self_attention = self_attention
        self.feed_forward = feed_forward

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids ``(R, L)`` int64 and mask ``(R, L)`` bool to states ``(R, L, D)``, zero for padding."""
        packing = Packing(mask)
        states = packing.pack(self.embeddings(ids))
        for attention, feed_forward in zip(self.self_attention, self.feed_forward, strict=True):
            states = attention(states, packing)
            states = feed_forward(states)
        return packing.unpack(states)


class TextTransformer(nn.Module):
    """Text encoder, image-grounded encoder and image-grounded decoder over shared weights.

    Args:
        vocab_size: number of tokens.
        image_width: width of the image tokens that cross-attention reads.
        width: ``D``.
        depth: number of layers.
        heads: attention heads; divides ``width``.
        hidden_width: inner width of the feed-forward blocks.
        max_positions: longest text in tokens.
        dropout: BERT's hidden and attention dropout.
        init_std: standard deviation of the first weights.
        sharing: what decoder and encoder share. Attributes ``decoder_…`` are None where they share.
        decoder_reads: what the decoder's cross-attention reads: image tokens, or a question's states
            ``(B, L, D)`` by the image-grounded encoder, as BLIP's question answering: never shared.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        image_width: int,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden_width: int = 3072,
        max_positions: int = 512,
        dropout: float = 0.1,
        init_std: float = INITIAL_STD,
        sharing: Sharing = "all_but_sa",
        decoder_reads: Source = "image",
    ) -> None:
        super().__init__()
        self.width = width
        self.depth = depth
        self.max_positions = max_positions
        self.sharing = sharing
        self.decoder_reads = decoder_reads

        def embeddings() -> TextEmbeddings:
            return TextEmbeddings(vocab_size, width, max_positions, dropout)

        def self_attention() -> nn.ModuleList:
            return nn.ModuleList(SelfAttention(width, heads, dropout) for _ in range(depth))

        def cross_attention(source_width: int) -> nn.ModuleList:
            return nn.ModuleList(CrossAttention(width, heads, dropout, source_width) for _ in range(depth))

        def feed_forward() -> nn.ModuleList:
            return nn.ModuleList(FeedForward(width, hidden_width, dropout) for _ in range(depth))

        own = DECODERS_OWN[sharing]
        self.embeddings = embeddings()
        self.self_attention = self_attention()
        self.cross_attention = cross_attention(image_width)
        self.feed_forward = feed_forward()
        self.decoder_embeddings = embeddings() if "embeddings" in own else None
        self.decoder_self_attention = self_attention() if "self_attention" in own else None
        decoders_source = image_width if decoder_reads == "image" else width
        own_cross_attention = "cross_attention" in own
        assert own_cross_attention or decoder_reads == "image", "shared cross-attention reads images"
        self.decoder_cross_attention = cross_attention(decoders_source) if own_cross_attention else None
        self.decoder_feed_forward = feed_forward() if "feed_forward" in own else None
        initialise_as_bert(self, init_std)

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of weights by this module's names, what the decoder takes over from the encoder's.

        That is every part which the decoder has of its own here and shared where the weights come from.
        """
        shared: dict[str, Tensor] = {}
        for name, own in self.state_dict().items():
            encoders = weights.get(name.removeprefix("decoder_"))
            if name.startswith("decoder_") and name not in weights and encoders is not None:
                shared |= {name: encoders} if encoders.shape == own.shape else {}
        return shared

    def stacked_layers(self) -> list[nn.Module]:
        """The blocks of all layers, the encoder's and the decoder's own."""
        stacks = [part for part in self.children() if isinstance(part, nn.ModuleList)]
        return [block for layer in zip(*stacks, strict=True) for block in layer]

    def text_encoder(self) -> TextEncoder:
        """The text-only mode as a module that shares this one's weights."""
        return TextEncoder(self.embeddings, self.self_attention, self.feed_forward)

    @property
    def output_embeddings(self) -> Tensor:
        """Word embeddings ``(V, D)`` that the decoder reads with, and predicts words with."""
        return (self.decoder_embeddings or self.embeddings).word.weight

    def keys_values_side(self, side: Side) -> Side:
        """Whose cross-attention ``side`` uses: the encoder's, unless the decoder has its own."""
        return "encoder" if self.decoder_cross_attention is None else side

    def image_keys_values(self, embeds: Tensor, side: Side) -> list[KeysValues]:
        """What ``side`` reads to the keys and values of each layer's cross-attention.

        That is image tokens ``(B, N, image_width)``, or questions' states for a decoder that reads them.
        """
        return [cast(CrossAttention, block).keys_values(embeds) for block in self._cross_attention(side)]

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text-only mode: ids ``(R, L)`` int64 and mask ``(R, L)`` bool to states ``(R, L, D)``."""
        return self.text_encoder()(ids, mask)

    def ground(
        self, ids: Tensor, mask: Tensor, image: Sequence[KeysValues], image_of: Tensor | None = None
    ) -> Tensor:
        """Image-grounded encoder: as ``encode``, with cross-attention to ``image``.

        Args:
            ids: ``(R, L)`` int64.
            mask: ``(R, L)`` bool.
            image: per layer keys and values with ``R`` rows, or with ``R / k`` rows for ``k`` consecutive
                texts an image, or with any number of rows of which ``image_of`` names one for each text.
            image_of: ``(R,)`` int64.
        """
        packing = Packing(mask)
        layout = packing if image_of is None else packing.by_image(image_of, len(image[0].keys))
        if image_of is not None and math.prod(layout.shape) > LARGEST_PADDING * mask.numel():
            # Most texts ask one image, and rows as long as all of theirs would be mostly padding.
            image, layout = [layer.select(image_of) for layer in image], packing
        states = packing.pack(self.embeddings(ids))
        blocks = zip(self.self_attention, self.cross_attention, self.feed_forward, image, strict=True)
        for attention, cross_attention, feed_forward, keys_values in blocks:
            states = attention(states, packing)
            states = feed_forward(cross_attention(states, keys_values, layout))
        return packing.unpack(states)

    def decode(
        self,
        ids: Tensor,
        image: Sequence[KeysValues],
        mask: Tensor | None = None,
        image_mask: Tensor | None = None,
    ) -> Tensor:
        """Image-grounded decoder with causal self-attention: ids ``(R, L)`` int64 to states ``(R, L, D)``.

        Padding stands on the right, where no real token attends to it, so the decoder needs no mask.

        Args:
            ids: whole texts; ``step_decoder`` writes them token by token.
            image: per layer keys and values with ``R`` rows, or with ``R / k`` rows for ``k`` texts an image.
            mask: ``(R, L)`` bool; padding is then left out of the work, and its states are zero.
            image_mask: bool, which tokens of ``image`` are real; a question has padding, an image none.
        """
        states = (self.decoder_embeddings or self.embeddings)(ids)
        packing = None if mask is None else Packing(mask)
        states = states if packing is None else packing.pack(states)
        for blocks, keys_values in zip(self.decoder_blocks(), image, strict=True):
            attention, cross_attention, feed_forward = blocks
            states = attention(states, packing, causal=True)
            states = feed_forward(cross_attention(states, keys_values, packing, image_mask))
        return states if packing is None else packing.unpack(states)

    def decoder_blocks(self) -> Iterator[tuple[SelfAttention, CrossAttention, FeedForward]]:
        """The decoder's blocks, layer by layer."""
        blocks = zip(
            self.decoder_self_attention or self.self_attention,
            self._cross_attention("decoder"),
            self.decoder_feed_forward or self.feed_forward,
            strict=True,
        )
        return cast(Iterator[tuple[SelfAttention, CrossAttention, FeedForward]], blocks)

    def _cross_attention(self, side: Side) -> nn.ModuleList:
        own = self.decoder_cross_attention if side == "decoder" else None
        return self.cross_attention if own is None else own


def first_token_replaced(ids: Tensor, token: int) -> Tensor:
    """A copy of ``ids`` ``(R, L)`` that starts with ``token``: [CLS], [ENC] or [DEC] names the mode."""
    return torch.cat((torch.full_like(ids[:, :1], token), ids[:, 1:]), dim=1)
