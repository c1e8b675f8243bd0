"""The forward pass of one batch, as the module that a strategy spreads over the ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmtk.engine.configs import PrecisionConfig
from mmtk.engine.learner import Learner
from mmtk.engine.step_clock import section
from mmtk.types import HeadOutput

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Objective(nn.Module):
    """The heads of a learner and the sum of their losses.

    Args:
        learner: its heads are called.
        precision: what the forward pass computes in.
    """

    def __init__(self, learner: Learner, precision: PrecisionConfig) -> None:
        super().__init__()
        self.learner = learner
        self._dtype = _DTYPES.get(precision.autocast)

    def forward(self, context: Any, share: Mapping[str, float]) -> tuple[Tensor, dict[str, HeadOutput]]:
        """Return the loss and each head's output.

        Args:
            context: what the heads read of the batch (``mmtk.kinds.ForwardContext``).
            share: factor on each head's loss: what part of its terms this batch holds.
        """
        device = context.batch.image_ids.device.type
        with torch.autocast(device, self._dtype, enabled=self._dtype is not None):
            outputs: dict[str, HeadOutput] = {}
            for name, head in self.learner.heads.items():
                with section(f"forward/{name}"):
                    outputs[name] = head(context)
        losses = [share[name] * output.loss.float() for name, output in outputs.items()]
        return torch.stack(losses).sum(), outputs
