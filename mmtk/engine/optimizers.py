"""Optimizers as recipe components."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from mmtk.errors import StageError

Implementation = Literal["auto", "fused", "foreach", "plain"]
_FUSED_DEVICES = {"cpu", "cuda"}


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter, 2019). The fields are those of ``AdamWConfig``."""

    def __init__(
        self,
        *,
        lr: float,
        implementation: Implementation = "auto",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.05,
        no_decay: Literal["none", "bias_and_norm"] = "none",
    ) -> None:
        self._implementation = implementation
        self._options: dict[str, Any] = {"lr": lr, "betas": tuple(betas), "eps": eps}
        self._weight_decay = weight_decay
        self._no_decay = no_decay

    def __call__(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the optimizer over the parameters that need a gradient, in the order given.

        Raises StageError when ``fused`` is asked for on a device that has no such kernel.
        """
        trained = [(name, parameter) for name, parameter in named_parameters if parameter.requires_grad]
        decayed = [parameter for name, parameter in trained if self._decays(name, parameter)]
        spared = [parameter for name, parameter in trained if not self._decays(name, parameter)]
        groups = [
            {"params": parameters, "weight_decay": decay}
            for parameters, decay in ((decayed, self._weight_decay), (spared, 0.0))
            if parameters
        ]
        devices = {parameter.device.type for _, parameter in trained}
        return torch.optim.AdamW(groups, **self._implementation_on(devices), **self._options)

    def _implementation_on(self, devices: set[str]) -> dict[str, Any]:
        """Torch's switches for it: without a fused kernel ``auto`` lets torch choose."""
        wanted, elsewhere = self._implementation, devices - _FUSED_DEVICES
        if wanted == "fused" and elsewhere:
            raise StageError(f"adamw: there is no fused kernel on {', '.join(sorted(elsewhere))}")
        if wanted == "auto":
            return {"fused": not elsewhere}
        return {"fused": wanted == "fused", "foreach": wanted == "foreach"}

    def _decays(self, name: str, parameter: nn.Parameter) -> bool:
        return self._no_decay == "none" or not is_bias_or_norm(name, parameter)


def is_bias_or_norm(name: str, parameter: nn.Parameter) -> bool:
    """Whether the usual grouping spares this parameter weight decay.

    That is every scalar and vector (biases, norms, temperatures), and position embeddings and class tokens,
    which timm's models name ``pos_embed`` and ``cls_token`` and BERT ``position_embeddings``.
    """
    if parameter.ndim <= 1 or name.endswith(".bias"):
        return True
    return any(part.startswith(("pos_embed", "position", "cls_token")) for part in name.split("."))
