"""Image-text contrast without a softmax (SigLIP, arXiv 2303.15343)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mmtk.api import ForwardContext, HeadOutput


class SigmoidHead(nn.Module):
    """Asks of every image and every text of the batch whether they belong together.

    Args:
        scale: above 0; where the learned factor on similarities starts.
        bias: where the learned bias starts.
    """

    def __init__(self, *, scale: float = 10.0, bias: float = -10.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, context: ForwardContext) -> HeadOutput:
        """SigLIP's equation 1; all pairs that the model says match count as belonging together."""
        similarity = context.image.features @ context.text.features.t()
        logits = self.log_scale.exp() * similarity + self.bias
        count = len(logits)
        signs = torch.where(context.similarities.matching[:, :count], 1.0, -1.0)
        loss = -F.logsigmoid(signs * logits).sum() / count
        return HeadOutput(loss, {"scale": self.log_scale.detach().exp()})
