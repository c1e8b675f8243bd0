"""Image-text contrast (ALBEF §3.2, BLIP §3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmtk.api import ForwardContext, HeadOutput, Loss


class ItcHead(nn.Module):
    """Contrast against the batch and the queue, with soft targets from the momentum encoder.

    Args:
        loss: of logits ``(B, K)`` and targets ``(B, K)`` that sum to one per row.
        alpha: weight of the momentum encoder's similarities in the targets, after the ramp.
        ramp_epochs: epochs over which alpha rises from zero; 0 starts at ``alpha``.
        weight: factor on the loss.
    """

    def __init__(
        self, *, loss: Loss, alpha: float = 0.4, ramp_epochs: float = 2.0, weight: float = 1.0
    ) -> None:
        super().__init__()
        self.loss = loss
        self.alpha = alpha
        self.ramp_epochs = ramp_epochs
        self.weight = weight

    def forward(self, context: ForwardContext) -> HeadOutput:
        """Mean of both directions' losses; logs alpha and the temperature."""
        similarities = context.similarities
        alpha = self.alpha_at(context.state.epoch)
        hard = similarities.matching / similarities.matching.sum(1, keepdim=True)
        image_targets = soften(hard, similarities.teacher_image_to_text, alpha)
        text_targets = soften(hard, similarities.teacher_text_to_image, alpha)
        loss = (
            self.loss(similarities.image_to_text, image_targets)
            + self.loss(similarities.text_to_image, text_targets)
        ) / 2
        metrics = {
            "alpha": torch.tensor(alpha),
            "temperature": context.model.temperature.detach().clone(),
        }
        return HeadOutput(self.weight * loss, metrics)

    def alpha_at(self, epoch: float) -> float:
        """Alpha after ``epoch`` epochs: a linear ramp, step by step, as the public BLIP implementation's."""
        return self.alpha if self.ramp_epochs == 0 else self.alpha * min(1.0, epoch / self.ramp_epochs)


def soften(hard: Tensor, teacher: Tensor | None, alpha: float) -> Tensor:
    """Mix hard targets with the teacher's distribution (ALBEF eq. 6); without a teacher they stay hard."""
    return hard if teacher is None else alpha * F.softmax(teacher.float(), dim=1) + (1 - alpha) * hard
