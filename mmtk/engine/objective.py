"""The forward pass of one batch, as the module that a strategy spreads over the ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmtk.blame import blamed
from mmtk.engine.configs import PrecisionConfig
from mmtk.engine.learner import Learner
from mmtk.engine.step_clock import section
from mmtk.errors import StageError
from mmtk.offers import a_value
from mmtk.types import HeadOutput

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Objective(nn.Module):
    """The heads of a learner and the sum of their losses.

    Args:
        learner: its heads are called.
        precision: what the forward pass computes in.
        described: the heads in words, each with its plugin, by their names in the learner.
    """

    def __init__(
        self, learner: Learner, precision: PrecisionConfig, described: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.learner = learner
        self._described = {name: f"head '{name}'" for name in learner.heads} | dict(described or {})
        self._dtype = _DTYPES.get(precision.autocast)

    def forward(self, context: Any, share: Mapping[str, float]) -> tuple[Tensor, dict[str, HeadOutput]]:
        """Return the loss and each head's output.

        Args:
            context: what the heads read of the batch (``mmtk.kinds.ForwardContext``).
            share: factor on each head's loss: what part of its terms this batch holds.

        Raises StageError when a head returns no scalar loss.
        """
        device = context.batch.image_ids.device.type
        with torch.autocast(device, self._dtype, enabled=self._dtype is not None):
            outputs: dict[str, HeadOutput] = {}
            for name, head in self.learner.heads.items():
                with section(f"forward/{name}"), blamed(self._described[name], f"computed loss/{name}"):
                    outputs[name] = self._checked(name, head(context))
        losses = [share[name] * output.loss.float() for name, output in outputs.items()]
        return torch.stack(losses).sum(), outputs

    def _checked(self, name: str, output: Any) -> HeadOutput:
        """What a head has returned, if it is what heads return."""
        if not isinstance(output, HeadOutput) or not isinstance(output.loss, Tensor):
            given = a_value(output.loss if isinstance(output, HeadOutput) else output)
            raise StageError(f"{self._described[name]} must return a HeadOutput with a loss, not {given}")
        if output.loss.ndim:
            raise StageError(
                f"{self._described[name]}: expected a scalar tensor for loss/{name}, "
                f"got the shape {tuple(output.loss.shape)}"
            )
        return output
