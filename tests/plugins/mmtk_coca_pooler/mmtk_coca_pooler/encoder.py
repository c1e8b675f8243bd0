"""Attentional poolers in a cascade (CoCa, Yu et al. 2022, arXiv 2205.01917 §3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmtk.api import RecipeError


class Pooler(nn.Module):
    """Learned queries that attend to ``(B, N, source_width)`` and give ``(B, queries, width)``."""

    def __init__(self, queries: int, width: int, source_width: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width) / width**0.5)
        self.source_norm = nn.LayerNorm(source_width)
        self.attention = nn.MultiheadAttention(
            width, heads, kdim=source_width, vdim=source_width, batch_first=True
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, source: Tensor) -> Tensor:
        source = self.source_norm(source)
        queries = self.queries.expand(len(source), -1, -1)
        return self.norm(self.attention(queries, source, source, need_weights=False)[0])


class CocaEncoder(nn.Module):
    """Pools the ViT's tokens for words to look at, and these again, to one for the whole picture."""

    def __init__(self, vit: VisionTransformer, *, width: int, queries: int, heads: int) -> None:
        super().__init__()
        self.vit = vit
        self.for_words = Pooler(queries, width, vit.embed_dim, heads)
        self.for_whole = Pooler(1, width, width, heads)
        self.width = width
        self.image_size: int = vit.patch_embed.img_size[0]

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, 1 + queries, width)``, the whole picture's first."""
        pooled = self.for_words(self.vit.forward_features(images))
        return torch.cat((self.for_whole(pooled), pooled), dim=1)

    def stacked_layers(self) -> list[nn.Module]:
        return list(self.vit.blocks)


def coca_pooler(
    *, name: str, options: Mapping[str, Any], weights: Path | None, width: int, queries: int, heads: int
) -> CocaEncoder:
    """Build the encoder. Raises RecipeError when timm can't build or fill such a ViT."""
    given = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}} if weights else {}
    try:
        vit = timm.create_model(name, num_classes=0, global_pool="", **given, **options)
    except (AssertionError, AttributeError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(f"coca_pooler: timm can't build {name!r}: {error}") from error
    if not isinstance(vit, VisionTransformer):
        raise RecipeError(f"coca_pooler takes a ViT, and timm's {name!r} is a {type(vit).__name__}")
    return CocaEncoder(vit, width=width, queries=queries, heads=heads)
