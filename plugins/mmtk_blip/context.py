"""What the heads of one training step share: each part is computed once, when a head first reads it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from mmtk.api import (
    Batch,
    Momentum,
    MomentumKeys,
    Similarities,
    StepState,
    gather_own_first,
    gather_with_grad,
    own_first,
    row_counts,
    section,
)
from mmtk_blip.encodings import ImageEncoding, TextEncoding


class MedContext:
    """The forward context of MED, and of any model that encodes and has a ``temperature`` as MED does.

    Args:
        model: a ``Model`` with ``temperature`` and ``same_text_matches``.
        batch: the step's pairs.
        state: where training stands.
        momentum: the momentum encoder; None where the recipe has none.
    """

    def __init__(self, model: Any, batch: Batch, state: StepState, momentum: Momentum | None) -> None:
        self.model = model
        self.batch = batch
        self.state = state
        self.momentum = momentum

    def release(self) -> None:
        """Drop the encodings, the similarities and the slow image tokens; batch and features stay."""
        for name in ("image", "text", "similarities"):
            self.__dict__.pop(name, None)
        keys = self.__dict__.get("momentum_keys")
        if keys is not None:
            self.__dict__["momentum_keys"] = keys._replace(image_embeds=None)

    @cached_property
    def image(self) -> ImageEncoding:
        with section("forward/shared image encoder"):
            return self.model.encode_images(self.batch.images)

    @cached_property
    def text(self) -> TextEncoding:
        with section("forward/shared tokenizer"):
            return self.model.encode_texts(self.batch.texts)

    @cached_property
    def momentum_keys(self) -> MomentumKeys | None:
        if self.momentum is None:
            return None
        text = self.text
        with section("forward/shared momentum encoder"):
            return self.momentum.keys(self.batch, text)

    @cached_property
    def similarities(self) -> Similarities:
        """Logits of the online features against the momentum encoder's keys (ALBEF §3.2).

        The batch's keys come first, then those of the other ranks' batches, then the queue. Without a
        momentum encoder the keys are the online features of all ranks. Logits are float32.
        """
        image, text, keys = self.image.features, self.text.features, self.momentum_keys
        with section("forward/shared similarities"):
            return self._similarities(image, text, keys)

    def _similarities(self, image: Tensor, text: Tensor, keys: MomentumKeys | None) -> Similarities:
        temperature = self.model.temperature
        matching = matching_pairs(self.batch, keys, same_text=self.model.same_text_matches)
        counts = row_counts(self.batch.image_ids)
        if keys is None:
            image_keys, text_keys = (
                own_first(gather_with_grad(one, counts), counts) for one in (image, text)
            )
            image_logits = similarity_logits(image, text_keys, temperature)
            return Similarities(
                image_logits, similarity_logits(text, image_keys, temperature), None, None, matching
            )
        of_all_ranks = partial(gather_own_first, counts=counts)
        image_keys_parts = (of_all_ranks(keys.image_features), keys.queued_image_features)
        text_keys_parts = (of_all_ranks(keys.text_features), keys.queued_text_features)
        with torch.no_grad():
            teacher_image_to_text = _logits_of_parts(keys.image_features, text_keys_parts, temperature)
            teacher_text_to_image = _logits_of_parts(keys.text_features, image_keys_parts, temperature)
        return Similarities(
            _logits_of_parts(image, text_keys_parts, temperature),
            _logits_of_parts(text, image_keys_parts, temperature),
            teacher_image_to_text,
            teacher_text_to_image,
            matching,
        )


def similarity_logits(features: Tensor, keys: Tensor, temperature: Tensor) -> Tensor:
    """Features ``(B, E)`` and keys ``(K, E)`` to logits ``(B, K)``, their products over the temperature.

    They are float32 also under autocast: at temperature 0.01 bfloat16 would round them by up to 0.25.
    """
    with torch.autocast(features.device.type, enabled=False):
        return features.float() @ keys.float().t() / temperature


def _logits_of_parts(features: Tensor, parts: Sequence[Tensor], temperature: Tensor) -> Tensor:
    """As ``similarity_logits`` with all parts' keys in turn, without a copy of the queue."""
    return torch.cat([similarity_logits(features, keys, temperature) for keys in parts], dim=1)


def matching_pairs(batch: Batch, keys: MomentumKeys | None, *, same_text: bool) -> Tensor:
    """Say which keys belong to which pairs of the batch: by image and, with ``same_text``, by text as well.

    Returns:
        ``(B, K)`` bool: the batch's own pairs, those of the other ranks, then the queued ones of ``keys``.
    """
    counts = row_counts(batch.image_ids)
    image_ids, text_ids = (gather_own_first(ids, counts) for ids in (batch.image_ids, batch.text_ids))
    if keys is not None:
        image_ids = torch.cat((image_ids, keys.queued_image_ids))
        text_ids = torch.cat((text_ids, keys.queued_text_ids))
    matching = batch.image_ids[:, None] == image_ids
    return matching | (batch.text_ids[:, None] == text_ids) if same_text else matching
