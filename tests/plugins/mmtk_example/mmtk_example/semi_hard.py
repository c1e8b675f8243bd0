"""Negatives that a noisy set can afford (semi-hard, after FaceNet, arXiv 1503.03832 §3.2)."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmtk.api import Negatives, Range


class SemiHard:
    """Draws by similarity among the pairs that don't match and are less similar than the true one.

    Where web texts are wrong, a stranger that fits better than the own text may well be right. A row without
    such a pair draws among all that don't match it, and where all match, among the whole batch.

    Args:
        temperature: divides the logits; higher draws more evenly.
    """

    def __init__(self, *, temperature: Annotated[float, Range(0, low_open=True)] = 1.0) -> None:
        self.temperature = temperature

    def __call__(
        self, text_to_image: Tensor, image_to_text: Tensor, matching: Tensor, generator: torch.Generator
    ) -> Negatives:
        return Negatives(
            self._draw(text_to_image, matching, generator), self._draw(image_to_text, matching, generator)
        )

    def _draw(self, logits: Tensor, matching: Tensor, generator: torch.Generator) -> Tensor:
        strange = ~matching
        semi_hard = strange & (logits < logits.diagonal()[:, None])
        allowed = torch.where(strange.any(1, keepdim=True), strange, True)
        allowed = torch.where(semi_hard.any(1, keepdim=True), semi_hard, allowed)
        chances = F.softmax(logits / self.temperature, dim=1).nan_to_num() + 1e-6
        drawn = torch.multinomial((chances * allowed).cpu(), 1, generator=generator)
        return drawn.squeeze(1).to(logits.device)
