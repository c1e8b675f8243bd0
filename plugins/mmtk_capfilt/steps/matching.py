"""Scoring texts with a filter's two heads, and keeping those that match (BLIP §3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmtk.api import (
    Blueprint,
    ImageCandidates,
    ImageEncoding,
    ImageTransform,
    MatchingHead,
    Registry,
    TextEncoding,
)
from mmtk_capfilt.ledger import ITC, ITM
from mmtk_capfilt.rules import source_rules
from mmtk_capfilt.steps.models import CheckpointStep, chunks


class FeatureFilter(CheckpointStep):
    """Gives ``itc_similarity``, the cosine of the ITC features of image and text, in [-1, 1]."""

    gives: tuple[str, ...] = (ITC,)

    def __init__(
        self,
        *,
        checkpoint: Path,
        threshold: float,
        synthetic_threshold: float | None,
        batch_size: int,
        image_transform: Blueprint[ImageTransform] | None,
        device: str,
        registry: Registry,
    ) -> None:
        super().__init__(checkpoint, image_transform, device, registry)
        self.rules = source_rules(self.gives[0], threshold, synthetic_threshold)
        self._batch_size = batch_size

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        """Raises CheckpointError when the checkpoint lacks a head that it needs."""
        return [done for batch in chunks(images, self._batch_size) for done in self._score(batch)]

    @torch.inference_mode()
    def _score(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        pairs = [(row, one.cleaned) for row, image in enumerate(images) for one in image.open]
        if not pairs:
            return list(images)
        index = torch.tensor([row for row, _ in pairs], device=self._device)
        encoded = self.learner.model.encode_images(self.pixels(images))
        texts = self.learner.model.encode_texts([text for _, text in pairs])
        columns = [iter(scores.tolist()) for scores in self.scores(encoded, index, texts)]
        return [
            image.scored(
                **{
                    name: [next(column) for _ in image.open]
                    for name, column in zip(self.gives, columns, strict=True)
                }
            )
            for image in images
        ]

    def scores(self, images: ImageEncoding, index: Tensor, texts: TextEncoding) -> list[Tensor]:
        """Score ``T`` texts, each against the image at its place of ``index`` ``(T,)``.

        Returns a tensor ``(T,)`` float32 for each name of ``gives``.
        """
        return [(images.features[index] * texts.features).float().sum(dim=-1)]


class MatchFilter(FeatureFilter):
    """Gives ``itm_probability``, ``softmax(match_logits)[1]``, and ``itc_similarity`` of the same learner.

    Each image's embeddings, keys and values are computed once for all its texts, which are scored
    ``batch_size`` pairs at a time.
    """

    gives = (ITM, ITC)

    def scores(self, images: ImageEncoding, index: Tensor, texts: TextEncoding) -> list[Tensor]:
        head = self.learner.head_with(MatchingHead)
        places = torch.arange(len(texts), device=self._device)
        logits = torch.cat(
            [
                head.match_logits(images.select(index[some]), texts.select(some))
                for some in places.split(self._batch_size)
            ]
        )
        return [logits.float().softmax(dim=-1)[:, 1], *super().scores(images, index, texts)]
