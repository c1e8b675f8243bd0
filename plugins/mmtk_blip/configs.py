"""What BLIP's components take. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from mmtk.api import (
    Blueprint,
    ComponentNode,
    ImageEncoder,
    Input,
    Loss,
    NegativeSampler,
    Output,
    Range,
    Reader,
    Slot,
    TextTransform,
    Tokenizer,
    node,
)

Count = Annotated[int, Range(1)]
Weight = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1, high_open=True)]


@dataclass(frozen=True, kw_only=True)
class TimmVitConfig:
    """timm's vision transformer, by sizes or by timm's name."""

    name: str | None = None
    """A ViT of timm's, e.g. ``vit_small_patch16_224``; then it decides all sizes but ``image_size``."""
    image_size: Count = 224
    """Edge of the square picture in pixels."""
    patch_size: Count = 16
    """Edge of a patch in pixels."""
    width: Count = 768
    """Width of the tokens."""
    depth: Count = 12
    """Number of layers."""
    heads: Count = 12
    """Attention heads; divides ``width``."""
    mlp_ratio: Annotated[float, Range(0, low_open=True)] = 4.0
    """Width of the feed-forward blocks over ``width``."""
    drop_path: Probability = 0.0
    """Stochastic depth at the last layer, rising linearly from 0 at the first."""
    checkpointed_layers: Annotated[int, Range(0)] = 0
    """Last layers whose activations are computed again in the backward pass: slower, for less memory."""
    stem: Literal["patch", "conv"] = "patch"
    """Patch embedding: one linear map a patch, or stride-2 convolutions, which learn faster on small sets."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.name is not None:
            for name in ("patch_size", "width", "depth", "heads", "mlp_ratio", "stem"):
                if getattr(self, name) != _default(self, name):
                    yield name, f"timm's {self.name!r} decides it; leave out either this or name"
            return
        if self.width % self.heads:
            yield "heads", f"{self.heads} heads don't divide the width {self.width}"
        if self.image_size % self.patch_size:
            yield "patch_size", f"{self.patch_size} doesn't divide the image size {self.image_size}"
        if self.stem == "conv" and (self.patch_size < 2 or self.patch_size & (self.patch_size - 1)):
            yield "patch_size", f"{self.patch_size} is no power of two above 1, as the conv stem needs"
        elif self.stem == "conv" and self.width % (self.patch_size // 2):
            yield "width", f"{self.width} is no multiple of {self.patch_size // 2}, as the conv stem needs"


@dataclass(frozen=True, kw_only=True)
class TimmFeaturesConfig:
    """A feature map of any timm network as tokens, their mean first."""

    name: str
    """A network of timm's that gives feature maps, e.g. ``resnet10t``."""
    width: Count
    """Width of the tokens after a linear projection and LayerNorm."""
    out_index: int = -1
    """Which of the network's feature maps; -1 is the last."""
    output_stride: Literal[8, 16, 32] = 32
    """Pixels per token: less than 32 dilates the last stages, for networks that can."""
    drop_path: Probability = 0.0
    """Stochastic depth, for networks that have it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else timm's network takes, e.g. ``{channels: [32, 64, 128, 256]}`` for a narrower ResNet."""


@dataclass(frozen=True, kw_only=True)
class MedBertConfig:
    """MED's text transformer; the defaults are BERT-base."""

    width: Count = 768
    """Width of the tokens."""
    depth: Count = 12
    """Number of layers."""
    heads: Count = 12
    """Attention heads; divides ``width``."""
    hidden_width: Count = 3072
    """Inner width of the feed-forward blocks."""
    max_positions: Count = 512
    """Longest text in tokens."""
    dropout: Probability = 0.1
    """BERT's dropout on hidden states and attention weights."""
    init_std: Annotated[float, Range(0, low_open=True)] = 0.02
    """Standard deviation of the first weights. BERT's 0.02 suits widths of 768 and more; a narrow transformer
    learns faster from about 1 / sqrt(width)."""
    sharing: Literal["all", "all_but_sa", "all_but_ca", "none"] = "all_but_sa"
    """What encoder and decoder share (BLIP table 3): all, all but self-attention (BLIP), all but
    cross-attention, or nothing."""
    decoder_reads: Literal["image", "question"] = "image"
    """What the decoder attends to: the image, or, to answer questions, the question's states."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.decoder_reads == "question" and self.sharing not in ("none", "all_but_ca"):
            yield (
                "sharing",
                "must be none or all_but_ca: a decoder that reads questions has its own cross-attention",
            )
        if self.width % self.heads:
            yield "heads", f"{self.heads} heads don't divide the width {self.width}"


@dataclass(frozen=True, kw_only=True)
class WordpieceConfig:
    """BERT's WordPiece tokenizer with [DEC] and [ENC]."""

    vocab: Annotated[Path, Input("tokenizer")]
    """Vocabulary, one token a line. [DEC] and [ENC] are appended where missing."""
    lowercase: bool = True
    """Lower-case texts and strip accents, as BERT uncased does."""
    max_length: Annotated[int, Range(3)] = 30
    """Longest text in tokens, special tokens included."""


@dataclass(frozen=True, kw_only=True)
class TrainWordpieceConfig:
    """Train a WordPiece vocabulary on the texts of datasets."""

    OUTPUTS: ClassVar = {"vocabulary": Output("tokenizer", "vocab.txt")}

    texts: Annotated[Sequence[Blueprint[Reader]], Slot("reader")]
    """Datasets whose texts are read."""
    text_transform: Annotated[Blueprint[TextTransform], Slot("text_transform")] = node("blip_caption")
    """Applied to each text, as in training."""
    vocab_size: Annotated[int, Range(8)] = 30522
    """Most tokens in the vocabulary, special ones included."""
    min_frequency: Count = 2
    """Least count of a pair of pieces to become one token."""
    lowercase: bool = True
    """As the tokenizer's."""


@dataclass(frozen=True, kw_only=True)
class MedConfig:
    """BLIP's multimodal mixture of encoder and decoder."""

    image_encoder: Annotated[Blueprint[ImageEncoder], Slot("image_encoder")] = node("timm_vit")
    """Pictures to tokens."""
    text_encoder: Annotated[Blueprint[object], Slot("text_encoder")] = node("med_bert")
    """The text transformer with its three modes."""
    tokenizer: Annotated[Blueprint[Tokenizer], Slot("tokenizer")]
    """Texts to ids."""
    embed_dim: Count = 256
    """Width of the joint space that ITC compares in."""
    temperature: Annotated[float, Range(0.001, 0.5)] = 0.07
    """Divides similarities; the first value if learned."""
    learn_temperature: bool = True
    """Whether the temperature is learned."""
    same_text_matches: bool = False
    """Pairs with the same words count as matching, as pairs of one image do; the public code takes them for
    negatives."""

    def check(self) -> Iterator[tuple[str, str]]:
        positions, longest = _key(self.text_encoder, "max_positions"), _key(self.tokenizer, "max_length")
        if isinstance(positions, int) and isinstance(longest, int) and longest > positions:
            yield "tokenizer.max_length", f"{longest} is more than the text encoder's {positions} positions"


@dataclass(frozen=True, kw_only=True)
class ItcConfig:
    """Image-text contrast with soft targets from the momentum encoder."""

    loss: Annotated[Blueprint[Loss], Slot("loss")] = node("soft_contrastive")
    """Of logits and target distributions."""
    alpha: Annotated[float, Range(0, 1)] = 0.4
    """Weight of the momentum encoder's similarities in the targets."""
    ramp_epochs: Annotated[float, Range(0)] = 2.0
    """Epochs over which alpha rises linearly from zero."""
    weight: Weight = 1.0
    """Factor on the loss."""


@dataclass(frozen=True, kw_only=True)
class ItmConfig:
    """Image-text matching with hard negatives."""

    loss: Annotated[Blueprint[Loss], Slot("loss")] = node("cross_entropy")
    """Of two-way logits and classes."""
    negatives: Annotated[Blueprint[NegativeSampler], Slot("negatives")] = node("itc_weighted")
    """Draws one negative image a text and one negative text an image."""
    negatives_from: Literal["rank", "all_ranks"] = "rank"
    """Where negatives come from: the rank's own batch, or the batches of all ranks, by the similarity of
    online features (as BLIP fine-tunes for retrieval on COCO)."""
    weight: Weight = 1.0
    """Factor on the loss."""


@dataclass(frozen=True, kw_only=True)
class LmConfig:
    """Language modelling by the image-grounded decoder."""

    loss: Annotated[Blueprint[Loss], Slot("loss")] = node("label_smoothing")
    """Of vocabulary logits and token ids."""
    prompt: str = ""
    """Words whose tokens are left out of the loss in texts that start with them."""
    weight: Weight = 1.0
    """Factor on the loss."""


@dataclass(frozen=True, kw_only=True)
class VqaConfig:
    """Answering questions. A text is `QUESTION? ANSWER`, parted behind its first question mark."""

    loss: Annotated[Blueprint[Loss], Slot("loss")] = node("label_smoothing")
    """Of vocabulary logits and token ids."""
    weight: Weight = 1.0
    """Factor on the loss."""


@dataclass(frozen=True, kw_only=True)
class VqaPairConfig:
    """Cleaning of `QUESTION? ANSWER` texts for the head vqa; others are quarantined."""

    max_words: Count = 50
    """Words of the question that are kept."""


@dataclass(frozen=True, kw_only=True)
class SoftContrastiveConfig:
    """Cross-entropy against a distribution."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropyConfig:
    """Cross-entropy against class indices."""


@dataclass(frozen=True, kw_only=True)
class LabelSmoothingConfig:
    """Cross-entropy with label smoothing."""

    smoothing: Probability = 0.1
    """Mass spread evenly over all classes."""


def _default(config: TimmVitConfig, name: str) -> object:
    return next(field.default for field in dataclasses.fields(config) if field.name == name)


def _key(component: object, name: str) -> object:
    """A key of a slot's node; None before the node is resolved or where its component has no such key."""
    return component.keys.get(name) if isinstance(component, ComponentNode) else None
