"""Texts of different lengths without their padding, for all that works token by token."""

from __future__ import annotations

import torch
from torch import Tensor


class Packing:
    """Where the real tokens of padded texts are.

    Only attention needs texts as rows; linear layers, norms and activations then run on real tokens alone.

    Args:
        mask: ``(R, L)`` bool, True for real tokens, of which there are ``T``.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self._places = mask.flatten().nonzero().squeeze(1)

    def pack(self, rows: Tensor) -> Tensor:
        """``(R, L, D)`` to the real tokens ``(T, D)``."""
        return rows.flatten(0, 1).index_select(0, self._places)

    def unpack(self, tokens: Tensor) -> Tensor:
        """Real tokens ``(T, D)`` to rows ``(R, L, D)`` with zeros for padding."""
        rows = torch.zeros(self.mask.numel(), tokens.shape[-1], dtype=tokens.dtype, device=tokens.device)
        return rows.index_copy(0, self._places, tokens).unflatten(0, self.mask.shape)
