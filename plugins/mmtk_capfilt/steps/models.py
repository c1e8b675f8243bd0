"""What the steps that use a checkpoint have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from mmtk.api import (
    WEIGHTS,
    Blueprint,
    CheckpointError,
    ImageCandidates,
    ImageTransform,
    Learner,
    Registry,
    checkpoint_fault,
    load_learner,
)

Item = TypeVar("Item")


class CheckpointStep:
    """Has a checkpoint's learner, loaded when it is first needed.

    Args:
        checkpoint: the folder.
        image_transform: from pictures to the learner's images; None takes what the pass has prepared.
        device: where the learner computes.
        registry: for building it.
    """

    def __init__(
        self,
        checkpoint: Path,
        image_transform: Blueprint[ImageTransform] | None,
        device: str,
        registry: Registry,
    ) -> None:
        """Raises CheckpointError when there is no checkpoint in the folder."""
        if fault := checkpoint_fault(checkpoint):
            raise CheckpointError(fault)
        self._checkpoint = checkpoint
        self._transform = None if image_transform is None else image_transform.build()
        self._device = device
        self._registry = registry

    @cached_property
    def fingerprint(self) -> str:
        """The first 12 hexadecimal digits of the weights' BLAKE2 checksum."""
        try:
            with (self._checkpoint / WEIGHTS).open("rb") as file:
                return hashlib.file_digest(file, hashlib.blake2b).hexdigest()[:12]
        except OSError as error:
            raise CheckpointError(f"{self._checkpoint}: no checkpoint ({error.strerror})") from error

    @cached_property
    def learner(self) -> Learner:
        return load_learner(self._checkpoint, self._registry, self._device)

    def pixels(self, images: Sequence[ImageCandidates]) -> Tensor:
        """``(B, 3, H, W)`` float32 on the device."""
        if self._transform is None:
            prepared = [image.pixels for image in images]
        else:
            prepared = [
                self._transform(image.picture, torch.Generator().manual_seed(image.seed)) for image in images
            ]
        return torch.stack(prepared).to(self._device)


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces of ``size``, the last one shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
