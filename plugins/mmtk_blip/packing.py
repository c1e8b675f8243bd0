"""Texts of different lengths without their padding, for all that works token by token."""

from __future__ import annotations

import torch
from torch import Tensor


class Layout:
    """Where packed tokens stand in rows.

    Args:
        places: ``(T,)`` int64, each token's place among the ``R * L`` of the rows, all different.
        shape: ``(R, L)``.
    """

    def __init__(self, places: Tensor, shape: tuple[int, int]) -> None:
        self.places = places
        self.shape = shape

    def pack(self, rows: Tensor) -> Tensor:
        """``(R, L, D)`` to the tokens ``(T, D)``."""
        return rows.flatten(0, 1).index_select(0, self.places)

    def unpack(self, tokens: Tensor) -> Tensor:
        """Tokens ``(T, D)`` to rows ``(R, L, D)`` with zeros in between."""
        count, length = self.shape
        rows = torch.zeros(count * length, tokens.shape[-1], dtype=tokens.dtype, device=tokens.device)
        return rows.index_copy(0, self.places, tokens).unflatten(0, self.shape)


class Packing(Layout):
    """Where the real tokens of padded texts are.

    Only attention needs texts as rows; linear layers, norms and activations then run on real tokens alone.

    Args:
        mask: ``(R, L)`` bool, True for real tokens, of which there are ``T``.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.flatten().nonzero().squeeze(1), (mask.shape[0], mask.shape[1]))
        self.mask = mask

    def by_image(self, image_of: Tensor, images: int) -> Layout:
        """The same tokens with a row per image: those of all its texts, one text after the other.

        Cross-attention reads an image's keys and values with every token of every text alike, so they needn't
        be repeated for each text.

        Args:
            image_of: ``(R,)`` int64, each text's image.
            images: how many images there are.
        """
        lengths = self.mask.sum(1)
        totals = lengths.new_zeros(images).index_add(0, image_of, lengths)
        longest = int(totals.max())
        order = image_of.argsort(stable=True)
        before = lengths[order].cumsum(0) - lengths[order]  # tokens of texts that come earlier
        of_earlier_images = (totals.cumsum(0) - totals)[image_of[order]]
        first = torch.empty_like(before)
        first[order] = image_of[order] * longest + before - of_earlier_images
        within = (self.mask.cumsum(1) - 1).flatten()[self.places]
        texts = self.places.div(self.mask.shape[1], rounding_mode="floor")
        return Layout(first[texts] + within, (images, longest))
