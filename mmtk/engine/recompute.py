"""Activation checkpointing by torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def last_layers(layers: Sequence[nn.Module], share: float) -> Sequence[nn.Module]:
    """Return the last ones of layers, a share of them, rounded up."""
    return layers[len(layers) - math.ceil(share * len(layers)) :]


class TorchCheckpointing:
    """Recomputes activations of the last layers in the backward pass (Chen et al. 2016, arXiv 1604.06174).

    Args:
        layers: share of the layers.
    """

    def __init__(self, *, layers: float = 1.0) -> None:
        self._share = layers

    def __call__(self, layers: Sequence[nn.Module]) -> None:
        for layer in last_layers(layers, self._share):
            # An attribute of the instance: a wrapper module would change the names of the weights.
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
