"""Linear layers for few rows and many calls, with weights laid out for it beforehand."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
_NEEDED = ("_reorder_linear_weight", "_linear_pointwise")
FEW_ROWS = 16  # oneDNN arranges weights for about so many; others are hardly slower


def prepacked(weight: Tensor, bias: Tensor) -> Linear:
    """A function of ``(…, in)`` to ``(…, out)`` for weights that stay as they are.

    A product with few rows takes as long as reading the weights does. On the CPU the usual routine rearranges
    them at every call; oneDNN takes a copy that is arranged once, which saves a third of the time and more.

    Args:
        weight: ``(out, in)``.
        bias: ``(out,)``.
    """
    # PyTorch's own operations, under names that it doesn't promise to keep.
    can_pack = torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in _NEEDED
    )
    if weight.device.type != "cpu" or not can_pack or weight.dtype != torch.float32:
        return lambda states: F.linear(states, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), FEW_ROWS)
    bias = bias.detach()
    return lambda states: torch.ops.mkldnn._linear_pointwise(states, packed, bias, "none", [], "")
