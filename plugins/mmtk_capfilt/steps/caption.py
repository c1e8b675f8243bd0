"""Writing synthetic captions (BLIP §3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mmtk.api import (
    Blueprint,
    CaptioningHead,
    Decoding,
    ImageCandidates,
    ImageTransform,
    Registry,
    stable_hash,
)
from mmtk_capfilt.steps.models import CheckpointStep, chunks


class Caption(CheckpointStep):
    """Adds ``captions`` synthetic texts to each image. What is drawn depends on a batch's images alone."""

    def __init__(
        self,
        *,
        checkpoint: Path,
        decoding: Decoding,
        captions: int,
        batch_size: int,
        image_transform: Blueprint[ImageTransform] | None,
        device: str,
        registry: Registry,
    ) -> None:
        super().__init__(checkpoint, image_transform, device, registry)
        self._decoding = decoding
        self._captions = captions
        self._batch_size = batch_size

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        """Raises CheckpointError when the checkpoint has no head that writes captions."""
        return [done for batch in chunks(images, self._batch_size) for done in self._caption(batch)]

    @torch.inference_mode()
    def _caption(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        head = self.learner.head_with(CaptioningHead)
        encoded = self.learner.model.encode_images(self.pixels(images))
        if self._captions > 1:
            rows = torch.arange(len(images), device=self._device).repeat_interleave(self._captions)
            encoded = encoded.select(rows)
        generator = torch.Generator().manual_seed(stable_hash("caption", *(image.seed for image in images)))
        texts = head.generate(encoded, self._decoding, generator)
        return [
            image.adding(own, written_by=self.fingerprint)
            for image, own in zip(images, chunks(texts, self._captions), strict=True)
        ]
