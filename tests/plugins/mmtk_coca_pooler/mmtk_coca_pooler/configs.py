"""What the encoder takes. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from mmtk.api import Input, Range


@dataclass(frozen=True, kw_only=True)
class CocaPoolerConfig:
    """A ViT of timm's whose tokens learned queries pool."""

    name: str = "vit_base_patch16_siglip_224"
    """A ViT of timm's, with a [CLS] token or without."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else timm's network takes, e.g. `{img_size: 384}`."""
    weights: Annotated[Path | None, Input("timm_weights")] = None
    """The network's first weights, a file of timm's; null draws them."""
    width: Annotated[int, Range(1)] = 768
    """Width of the pooled tokens."""
    queries: Annotated[int, Range(1)] = 256
    """Tokens for words to look at; one more stands for the whole picture."""
    heads: Annotated[int, Range(1)] = 8
    """Attention heads of the poolers."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.width % self.heads:
            yield "heads", f"{self.heads} heads don't divide the width {self.width}"
