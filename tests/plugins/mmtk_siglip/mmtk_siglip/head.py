"""Image-text contrast with a sigmoid for each pair (SigLIP, Zhai et al. 2023, arXiv 2303.15343)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmtk.api import ForwardContext, HeadOutput, gather_with_grad, own_first, row_counts


class SiglipHead(nn.Module):
    """Asks of each image of the rank and each text of all ranks whether they belong together.

    Args:
        temperature: above 0; first factor on similarities.
        bias: first summand.
        weight: factor on the loss.
    """

    def __init__(self, *, temperature: float = 10.0, bias: float = -10.0, weight: float = 1.0) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))
        self.weight = weight

    def forward(self, context: ForwardContext) -> HeadOutput:
        """The paper's equation, with every pair that the model says matches as a positive one."""
        image, text = context.image.features, context.text.features
        counts = row_counts(text)
        texts = own_first(gather_with_grad(text, counts), counts)
        matching = context.similarities.matching[:, : len(texts)]
        with torch.autocast(image.device.type, enabled=False):
            temperature = self.log_temperature.float().exp()
            logits = temperature * (image.float() @ texts.float().t()) + self.bias.float()
            loss = sigmoid_loss(logits, matching)
        right = ((logits.detach() > 0) == matching).float().mean()
        figures = {"temperature": temperature.detach(), "bias": self.bias.detach().clone(), "accuracy": right}
        return HeadOutput(self.weight * loss, figures)


def sigmoid_loss(logits: Tensor, matching: Tensor) -> Tensor:
    """The sum over all pairs, by the number of images.

    Args:
        logits: ``(B, K)``, images by texts.
        matching: ``(B, K)`` bool.
    """
    return -F.logsigmoid(torch.where(matching, logits, -logits)).sum() / len(logits)
