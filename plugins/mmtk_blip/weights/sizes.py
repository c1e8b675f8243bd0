"""Sizes of a BLIP model, told from the shapes of a public checkpoint's tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmtk.api import CheckpointError
from mmtk_blip.weights.names import DECODER, ENCODER, beginning_with

HEAD_WIDTH = 64  # of every attention head in BERT, DeiT and BLIP
VIT = "visual_encoder."


@dataclass(frozen=True)
class VisionSizes:
    """Of ``timm_vit``; field by field its config's."""

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float


@dataclass(frozen=True)
class TextSizes:
    """Of ``med_bert``; field by field its config's."""

    width: int
    depth: int
    heads: int
    hidden_width: int
    max_positions: int


def vision_sizes(tensors: Mapping[str, Tensor], heads: int | None) -> VisionSizes:
    """Sizes of ``visual_encoder``.

    Args:
        tensors: by public names.
        heads: attention heads, which no shape tells; by default one for each 64 of the width.

    Raises:
        CheckpointError: a tensor is missing or of an unexpected shape, or the heads don't divide the width.
    """
    vit = beginning_with(VIT, tensors)
    patch = _shape(vit, "patch_embed.proj.weight", 4, VIT)
    positions = _shape(vit, "pos_embed", 3, VIT)
    hidden = _shape(vit, "blocks.0.mlp.fc1.weight", 2, VIT)[0]
    width, patch_size = positions[2], patch[3]
    return VisionSizes(
        image_size=_grid(positions[1]) * patch_size,
        patch_size=patch_size,
        width=width,
        depth=_depth(vit, "blocks"),
        heads=_heads(heads, width, "image_heads"),
        mlp_ratio=hidden / width,
    )


def text_sizes(tensors: Mapping[str, Tensor], heads: int | None) -> TextSizes:
    """Sizes of ``text_encoder``, or of ``text_decoder`` where there is no encoder; as ``vision_sizes``."""
    prefix = text_prefix(tensors)
    text = beginning_with(prefix, tensors)
    width = _shape(text, "embeddings.word_embeddings.weight", 2, prefix)[1]
    return TextSizes(
        width=width,
        depth=_depth(text, r"encoder\.layer"),
        heads=_heads(heads, width, "heads"),
        hidden_width=_shape(text, "encoder.layer.0.intermediate.dense.weight", 2, prefix)[0],
        max_positions=_shape(text, "embeddings.position_embeddings.weight", 2, prefix)[0],
    )


def vocabulary_size(tensors: Mapping[str, Tensor]) -> int:
    """Number of tokens. Raises CheckpointError where there are no word embeddings."""
    prefix = text_prefix(tensors)
    return _shape(beginning_with(prefix, tensors), "embeddings.word_embeddings.weight", 2, prefix)[0]


def text_prefix(tensors: Mapping[str, Tensor]) -> str:
    """What the text encoder's names begin with, or the decoder's where there is no encoder."""
    return ENCODER if any(name.startswith(ENCODER) for name in tensors) else DECODER


def _shape(tensors: Mapping[str, Tensor], name: str, rank: int, prefix: str) -> tuple[int, ...]:
    tensor = tensors.get(name)
    if tensor is None:
        raise CheckpointError(f"no BLIP checkpoint: it lacks {prefix}{name}")
    if tensor.ndim != rank:
        raise CheckpointError(f"{prefix}{name}: shape {tuple(tensor.shape)}; expected {rank} dimensions")
    return tuple(tensor.shape)


def _depth(tensors: Mapping[str, Tensor], layers: str) -> int:
    matches = (re.match(rf"{layers}\.(\d+)\.", name) for name in tensors)
    numbers = {int(match[1]) for match in matches if match is not None}
    if numbers and max(numbers) + 1 != len(numbers):
        raise CheckpointError(
            f"no BLIP checkpoint: of layers up to number {max(numbers)} it has {len(numbers)} only"
        )
    return len(numbers)


def _grid(tokens: int) -> int:
    """Edge of the square of patches that ``tokens`` are, the class token aside."""
    edge = math.isqrt(max(tokens - 1, 0))
    if edge < 1 or edge * edge != tokens - 1:
        raise CheckpointError(f"{VIT}pos_embed: {tokens} positions aren't one and a square of patches")
    return edge


def _heads(heads: int | None, width: int, option: str) -> int:
    if heads is None and width % HEAD_WIDTH:
        raise CheckpointError(
            f"shapes don't tell the number of attention heads, and the width {width} is no multiple of "
            f"{HEAD_WIDTH}, BLIP's width of a head; give {option}"
        )
    heads = width // HEAD_WIDTH if heads is None else heads
    if width % heads:
        raise CheckpointError(f"{option}: {heads} heads don't divide the width {width}")
    return heads
