"""Losses over logits ``(R, K)``, each the mean over the rows, in float32 whatever type the logits have."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class SoftContrastive:
    """Cross-entropy against a distribution over keys (ALBEF eq. 6)."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits ``(R, K)`` and targets ``(R, K)`` that sum to one per row, to a scalar."""
        return -(F.log_softmax(logits.float(), dim=1) * targets).sum(1).mean()


class CrossEntropy:
    """Cross-entropy against class indices."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits ``(R, K)`` and targets ``(R,)`` int64, to a scalar."""
        return F.cross_entropy(logits.float(), targets)


class LabelSmoothing:
    """Cross-entropy against class indices with ``smoothing`` of the mass spread evenly over all classes."""

    def __init__(self, smoothing: float = 0.1) -> None:
        self.smoothing = smoothing

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits ``(R, K)`` and targets ``(R,)`` int64, to a scalar."""
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.smoothing)
