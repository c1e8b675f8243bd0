"""Activation checkpointing by fairscale."""

from __future__ import annotations

from collections.abc import Sequence

from fairscale.nn.checkpoint import checkpoint_wrapper
from torch import nn

from mmtk.api import last_layers


class FairscaleCheckpointing:
    """Recomputes activations of the last layers in the backward pass.

    Layers that offer other methods than ``forward`` are left as they are: what one of these has computed
    comes back as a structured argument, whose gradient fairscale's recomputation can't cut off.

    Args:
        layers: share of the layers.
        offload_to_cpu: keep the layers' inputs in the CPU's memory meanwhile.
    """

    def __init__(self, *, layers: float = 1.0, offload_to_cpu: bool = False) -> None:
        self._share = layers
        self._offload = offload_to_cpu

    def __call__(self, layers: Sequence[nn.Module]) -> None:
        for layer in last_layers(layers, self._share):
            if getattr(layer, "forward_methods", ()):
                continue
            checkpoint_wrapper(layer, offload_to_cpu=self._offload)  # it changes the layer in place
