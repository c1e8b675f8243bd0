"""Negatives for ITM, drawn within the batch (ALBEF §3.2).

Matching pairs are no negatives of each other. A row that matches its whole batch has no true negative; it
then gets one of the other pairs all the same, and the only row of a batch of one gets itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmtk.api import Negatives


def drawable(matching: Tensor) -> Tensor:
    """Say which pairs each row may draw: those that don't match it, or else any other pair, or else itself.

    Args:
        matching: ``(B, K)`` bool with a true diagonal.

    Returns:
        ``(B, K)`` bool with at least one true entry per row.
    """
    negative = matching.logical_not()
    own = torch.eye(*matching.shape, dtype=torch.bool, device=matching.device)
    last_resort = own.logical_not() if matching.shape[1] > 1 else own
    return torch.where(negative.any(1, keepdim=True), negative, last_resort)


def draw(text_to_image: Tensor, image_to_text: Tensor, generator: torch.Generator) -> Negatives:
    """Draw one column per row, both directions in one call.

    Args:
        text_to_image: ``(B, K)`` weights, not negative, of each text's images; no row is zero.
        image_to_text: ``(B, K)`` weights of each image's texts.
        generator: CPU generator.
    """
    weights = torch.cat((text_to_image, image_to_text))
    drawn = torch.multinomial(weights.cpu(), 1, generator=generator).squeeze(1).to(weights.device)
    return Negatives(*drawn.split(len(text_to_image)))


class ItcWeighted:
    """Draws with probability proportional to softmax(ITC logits) + ``floor`` (BLIP §3.2 and its public code).

    Args:
        floor: above 0.
    """

    def __init__(self, *, floor: float = 1e-4) -> None:
        self.floor = floor

    def __call__(
        self, text_to_image: Tensor, image_to_text: Tensor, matching: Tensor, generator: torch.Generator
    ) -> Negatives:
        allowed = drawable(matching)
        return draw(self._weights(text_to_image, allowed), self._weights(image_to_text, allowed), generator)

    def _weights(self, logits: Tensor, allowed: Tensor) -> Tensor:
        # A model that has diverged gives nan; the loss will say so better than a failed draw.
        probabilities = F.softmax(logits.float(), dim=1).nan_to_num()
        return (probabilities + self.floor) * allowed


class Hardest:
    """Takes the most similar pair; draws nothing."""

    def __call__(
        self,
        text_to_image: Tensor,
        image_to_text: Tensor,
        matching: Tensor,
        generator: torch.Generator,  # noqa: ARG002
    ) -> Negatives:
        forbidden = drawable(matching).logical_not()
        return Negatives(
            *(
                logits.nan_to_num().masked_fill(forbidden, -torch.inf).argmax(1)
                for logits in (text_to_image, image_to_text)
            )
        )


class Random:
    """Draws all pairs alike."""

    def __call__(
        self,
        text_to_image: Tensor,  # noqa: ARG002
        image_to_text: Tensor,  # noqa: ARG002
        matching: Tensor,
        generator: torch.Generator,
    ) -> Negatives:
        weights = drawable(matching).float()
        return draw(weights, weights, generator)
