"""Masked language modelling with momentum distillation (ALBEF §3.2 and §3.3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_blip.api import MedContext, soften
from torch import Tensor, nn

from mmtk.api import HeadOutput, Loss
from mmtk_albef.masking import Masked, mask_words, maskable


class MlmHead(nn.Module):
    """Prediction of masked words from the text and its image. The model owns the predictor.

    With a momentum encoder the targets are mixed with its predictions for the same masked text. Because
    cross-entropy is linear in its target, this is ALBEF's ``(1 - alpha) CE + alpha KL`` (eq. 7) up to the
    entropy of the momentum encoder's predictions, a constant that the public code leaves out as well.

    Args:
        loss: of logits ``(M, V)`` and targets ``(M, V)`` that sum to one per row.
        mask_id: id of [MASK].
        probability: of each word to be masked.
        alpha: weight of the momentum encoder's predictions in the targets, after the ramp.
        ramp_epochs: epochs over which alpha rises from zero; 0 starts at ``alpha``.
        weight: factor on the loss.
    """

    def __init__(
        self,
        *,
        loss: Loss,
        mask_id: int,
        probability: float = 0.15,
        alpha: float = 0.4,
        ramp_epochs: float = 1.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.mask_id = mask_id
        self.probability = probability
        self.alpha = alpha
        self.ramp_epochs = ramp_epochs
        self.weight = weight

    def forward(self, context: MedContext) -> HeadOutput:
        """Mean loss over the masked words; zero for a batch without any."""
        masked = self.masked(context)
        logits = self.logits(context, masked)
        if len(logits) == 0:
            return HeadOutput(logits.sum(), {})
        words = context.text.ids[masked.chosen]
        hard = F.one_hot(words, logits.shape[1]).float()
        targets = soften(hard, self.teacher_logits(context, masked), self.alpha_at(context.state.epoch))
        accuracy = (logits.detach().argmax(1) == words).float().mean()
        return HeadOutput(self.weight * self.loss(logits, targets), {"accuracy": accuracy})

    def terms(self, context: MedContext) -> int:
        """How many tokens the loss is the mean over."""
        return int(self.masked(context).chosen.sum())

    def masked(self, context: MedContext) -> Masked:
        """The batch's texts with words masked; the draw depends on seed, step and texts alone."""
        ids, mask, tokenizer = context.text.ids, context.text.mask, context.model.tokenizer
        return mask_words(
            ids,
            maskable(ids, mask, tokenizer),
            probability=self.probability,
            mask_id=self.mask_id,
            vocab_size=tokenizer.vocab_size,
            generator=context.state.generator("mlm/masks"),
        )

    def logits(self, context: MedContext, masked: Masked) -> Tensor:
        """``(M, V)`` of the chosen tokens. The image's keys and values are those that ITM reads."""
        towers = context.model.feature_towers()
        image = context.image.keys_values("encoder")
        return towers.word_logits(masked.ids, context.text.mask, image, masked.chosen)

    @torch.no_grad()
    def teacher_logits(self, context: MedContext, masked: Masked) -> Tensor | None:
        """``(M, V)`` by the momentum encoder, from its own image tokens; None without one."""
        if context.momentum is None:
            return None
        towers: Any = context.momentum.twin
        keys = context.momentum_keys
        assert keys is not None
        assert keys.image_embeds is not None, "ALBEF's towers return image tokens"
        image = towers.text_transformer.image_keys_values(keys.image_embeds)
        return towers.word_logits(masked.ids, context.text.mask, image, masked.chosen)

    def alpha_at(self, epoch: float) -> float:
        """Alpha after ``epoch`` epochs: a linear ramp, step by step."""
        return self.alpha if self.ramp_epochs == 0 else self.alpha * min(1.0, epoch / self.ramp_epochs)
