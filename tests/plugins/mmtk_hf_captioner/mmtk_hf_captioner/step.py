"""Writing captions with a model of transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from mmtk.api import CheckpointError, ImageCandidates, stable_hash


class HfCaptioner:
    """Adds ``captions`` synthetic texts to each image."""

    def __init__(
        self, *, folder: Path, captions: int, top_p: float, beams: int | None, max_tokens: int, device: str
    ) -> None:
        how = {"do_sample": True, "top_p": top_p} if beams is None else {"num_beams": beams}
        self._decoding: dict[str, Any] = how | {
            "num_return_sequences": captions,
            "max_new_tokens": max_tokens,
        }
        self._folder = folder
        self._captions = captions
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        """Raises CheckpointError when the folder holds no model that transformers can open."""
        model, processor, tokenizer = self._model
        pixels = processor([image.picture for image in images], return_tensors="pt").pixel_values
        # The pass seeds torch for each batch; this one makes the step a function of its images alone.
        torch.manual_seed(stable_hash("hf_captioner", *(image.seed for image in images)))
        tokens = model.generate(pixel_values=pixels.to(self._device), **self._decoding)
        texts = iter(tokenizer.batch_decode(tokens, skip_special_tokens=True))
        return [
            image.adding([next(texts) for _ in range(self._captions)], written_by=self.fingerprint)
            for image in images
        ]

    @cached_property
    def _model(self) -> tuple[Any, Any, Any]:
        """Model, image processor and tokenizer; loaded when first needed, in the process that needs them."""
        try:
            model = AutoModelForImageTextToText.from_pretrained(self._folder, local_files_only=True)
            processor = AutoImageProcessor.from_pretrained(self._folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self._folder}: transformers can't open it: {error}") from error
        return model.to(self._device).eval(), processor, tokenizer

    @cached_property
    def fingerprint(self) -> str:
        """The first 12 hexadecimal digits of the weights' checksum."""
        checksum = hashlib.blake2b()
        for path in sorted(self._folder.glob("*.safetensors")):
            with path.open("rb") as file:
                checksum.update(hashlib.file_digest(file, hashlib.blake2b).digest())
        return checksum.hexdigest()[:12]
