"""What ALBEF's components take. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from mmtk.api import Blueprint, ComponentNode, ImageEncoder, Loss, Range, Slot, Tokenizer, node

Count = Annotated[int, Range(1)]


@dataclass(frozen=True, kw_only=True)
class AlbefBertConfig:
    """ALBEF's text and fusion layers; the defaults are BERT-base, cut in the middle."""

    width: Count = 768
    """Width of the tokens."""
    text_depth: Count = 6
    """Number of layers that read the text alone."""
    fusion_depth: Count = 6
    """Number of layers above them that see the image."""
    heads: Count = 12
    """Attention heads; divides ``width``."""
    hidden_width: Count = 3072
    """Inner width of the feed-forward blocks."""
    max_positions: Count = 512
    """Longest text in tokens."""
    dropout: Annotated[float, Range(0, 1, high_open=True)] = 0.1
    """BERT's dropout on hidden states and attention weights."""
    init_std: Annotated[float, Range(0, low_open=True)] = 0.02
    """Standard deviation of the first weights."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.width % self.heads:
            yield "heads", f"{self.heads} heads don't divide the width {self.width}"


@dataclass(frozen=True, kw_only=True)
class AlbefConfig:
    """ALBEF: towers aligned by contrast, then fused by cross-attention."""

    image_encoder: Annotated[Blueprint[ImageEncoder], Slot("image_encoder")] = node(
        "timm_vit", image_size=256
    )
    """Pictures to tokens."""
    text_encoder: Annotated[Blueprint[object], Slot("text_encoder")] = node("albef_bert")
    """The text and fusion layers."""
    tokenizer: Annotated[Blueprint[Tokenizer], Slot("tokenizer")]
    """Texts to ids."""
    embed_dim: Count = 256
    """Width of the joint space that ITC compares in."""
    temperature: Annotated[float, Range(0.001, 0.5)] = 0.07
    """Divides similarities; the first value if learned."""
    learn_temperature: bool = True
    """Whether the temperature is learned."""
    same_text_matches: bool = False
    """Pairs with the same words count as matching, as pairs of one image do."""

    def check(self) -> Iterator[tuple[str, str]]:
        positions, longest = _key(self.text_encoder, "max_positions"), _key(self.tokenizer, "max_length")
        if isinstance(positions, int) and isinstance(longest, int) and longest > positions:
            yield "tokenizer.max_length", f"{longest} is more than the text encoder's {positions} positions"


@dataclass(frozen=True, kw_only=True)
class MlmConfig:
    """Masked language modelling with soft targets from the momentum encoder."""

    loss: Annotated[Blueprint[Loss], Slot("loss")] = node("soft_contrastive")
    """Of vocabulary logits and target distributions."""
    probability: Annotated[float, Range(0, 1, low_open=True)] = 0.15
    """Chance of a word to be masked (ALBEF §3.2)."""
    alpha: Annotated[float, Range(0, 1)] = 0.4
    """Weight of the momentum encoder's predictions in the targets."""
    ramp_epochs: Annotated[float, Range(0)] = 1.0
    """Epochs over which alpha rises linearly from zero."""
    weight: Annotated[float, Range(0)] = 1.0
    """Factor on the loss."""


@dataclass(frozen=True, kw_only=True)
class AlbefCaptionConfig:
    """ALBEF's caption cleaning: lower case, punctuation deleted."""

    max_words: Count = 30
    """Words that are kept."""


def _key(component: object, name: str) -> object:
    """A key of a slot's node; None before the node is resolved or where its component has no such key."""
    return component.keys.get(name) if isinstance(component, ComponentNode) else None
