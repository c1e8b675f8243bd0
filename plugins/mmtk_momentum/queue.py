"""The features of the last pairs, first in, first out (ALBEF §3.2, after MoCo)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """A ring of image features, text features, image ids and text ids, which starts empty.

    Its whole state is in buffers, so a state dict restores it exactly.

    Args:
        size: how many pairs it holds; 0 holds none.
        embed_dim: ``E``, width of the features.
    """

    _images: Tensor  # (size, E)
    _texts: Tensor  # (size, E)
    _image_ids: Tensor  # (size,) int64
    _text_ids: Tensor  # (size,) int64
    _pushed: Tensor  # () int64, pairs pushed in all

    def __init__(self, size: int, embed_dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("_images", torch.zeros(size, embed_dim))
        self.register_buffer("_texts", torch.zeros(size, embed_dim))
        self.register_buffer("_image_ids", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("_text_ids", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("_pushed", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        """Return how many pairs it holds now."""
        return min(int(self._pushed), self.size)

    def contents(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what it holds: image and text features ``(Q, E)``, image and text ids ``(Q,)``.

        Rows are in the ring's order, not by age. They are views: the next push changes them.
        """
        count = len(self)
        return self._images[:count], self._texts[:count], self._image_ids[:count], self._text_ids[:count]

    @torch.no_grad()
    def push(self, images: Tensor, texts: Tensor, image_ids: Tensor, text_ids: Tensor) -> None:
        """Add ``B`` pairs in order, each in the place of the oldest once the queue is full.

        Args:
            images: ``(B, E)`` features, any ``B``; of more than ``size`` pairs the last ones stay.
            texts: ``(B, E)``.
            image_ids: ``(B,)`` int64.
            text_ids: ``(B,)`` int64.
        """
        count = len(image_ids)
        first = max(0, count - self.size)
        if first < count:
            order = torch.arange(first, count, device=self._pushed.device)
            slots = (self._pushed + order) % self.size
            self._images[slots] = images[first:].to(self._images)
            self._texts[slots] = texts[first:].to(self._texts)
            self._image_ids[slots] = image_ids[first:].to(self._image_ids)
            self._text_ids[slots] = text_ids[first:].to(self._text_ids)
        self._pushed += count
