"""Scoring texts with a CLIP model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import open_clip
import torch

from mmtk.api import AtLeast, CheckpointError, ImageCandidates


class ClipScore:
    """Gives ``clip_score``, the cosine of a CLIP model's features of image and text, in [-1, 1]."""

    gives = ("clip_score",)

    def __init__(self, *, folder: Path, threshold: float, device: str) -> None:
        self.rules = (AtLeast("clip_score", threshold),)
        self._folder = folder
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        """Raises CheckpointError when the folder holds no model that open_clip can open."""
        texts = [one.cleaned for image in images for one in image.open]
        if not texts:
            return images
        model, transform, tokenizer = self._model
        pixels = torch.stack([transform(image.picture) for image in images])
        owners = [row for row, image in enumerate(images) for _ in image.open]
        seen = model.encode_image(pixels.to(self._device), normalize=True)[owners]
        read = model.encode_text(tokenizer(texts).to(self._device), normalize=True)
        scores = iter((seen * read).sum(dim=-1).tolist())
        return [image.scored(clip_score=[next(scores) for _ in image.open]) for image in images]

    @cached_property
    def _model(self) -> tuple[Any, Any, Any]:
        """Model, image transform and tokenizer; loaded when first needed, in the process that needs them."""
        name = f"local-dir:{self._folder}"
        try:
            model, transform = open_clip.create_model_from_pretrained(name, device=self._device)
            return model.eval(), transform, open_clip.get_tokenizer(name)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{self._folder}: open_clip can't open it: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """The first 12 hexadecimal digits of the weights' checksum."""
        checksum = hashlib.blake2b()
        for path in sorted(self._folder.glob("open_clip_*model.*")):
            with path.open("rb") as file:
                checksum.update(hashlib.file_digest(file, hashlib.blake2b).digest())
        return checksum.hexdigest()[:12]
