"""Position embeddings of a vision transformer for pictures of another size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def resized(embeddings: Tensor, patches: int) -> Tensor:
    """Interpolate ``(1, 1 + N, D)`` embeddings to ``(1, 1 + patches, D)``; the class token's stays as it is.

    Both grids are square. Bicubic, as the public BLIP's models/vit.py (interpolate_pos_embed). Equal grids
    keep their bits. Embeddings of no square grid are returned as they are.
    """
    count = embeddings.shape[1] - 1
    before, after = math.isqrt(max(count, 0)), math.isqrt(patches)
    if count == patches or before * before != count or after * after != patches:
        return embeddings
    grid = embeddings[:, 1:].float().unflatten(1, (before, before)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
    spread = grid.permute(0, 2, 3, 1).flatten(1, 2).to(embeddings.dtype)
    return torch.cat((embeddings[:, :1], spread), dim=1)
