"""A linear layer behind GELU that keeps one of the two wide tensors for the backward pass, not both."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


def gelu_linear(hidden: Tensor, linear: nn.Linear) -> Tensor:
    """``linear(F.gelu(hidden))``: ``(…, H)`` to ``(…, D)``, to the same bits.

    Plain autograd keeps ``hidden`` and its GELU. This keeps ``hidden`` and computes the GELU anew, which is
    cheap beside the products around it.
    """
    if not torch.is_grad_enabled():
        return linear(F.gelu(hidden))
    return _GeluLinear.apply(hidden, linear.weight, linear.bias)


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        # Under autocast hidden has the lower precision, and the product is to have it too.
        own_bias = None if bias is None else bias.to(hidden.dtype)
        return F.linear(F.gelu(hidden), weight.to(hidden.dtype), own_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        for_hidden, for_weight, for_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)
        to_hidden = to_weight = to_bias = None
        if for_weight:
            to_weight = (rows.t() @ F.gelu(hidden).flatten(0, -2)).to(weight.dtype)
        if for_bias:
            to_bias = rows.sum(0).to(weight.dtype)
        if for_hidden:
            to_hidden = torch.ops.aten.gelu_backward(gradient @ weight.to(gradient.dtype), hidden)
        return to_hidden, to_weight, to_bias
