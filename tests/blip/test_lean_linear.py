"""The linear layer behind GELU that keeps less for the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.lean_linear import gelu_linear
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def plain(hidden: Tensor, linear: nn.Linear) -> Tensor:
    return linear(F.gelu(hidden))


def lean_checkpointed(hidden: Tensor, linear: nn.Linear) -> Tensor:
    return checkpoint(gelu_linear, hidden, linear, use_reentrant=False)


def results(
    forward: Callable[[Tensor, nn.Linear], Tensor], *, bias: bool = True, autocast: bool = False
) -> list[Tensor]:
    """The output and all gradients of one pass from fixed weights."""
    torch.manual_seed(0)
    first, linear = nn.Linear(12, 48), nn.Linear(48, 12, bias=bias)
    inputs = torch.randn(3, 5, 12, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = forward(first(inputs), linear)
        (output.float() * torch.linspace(-1, 1, 12)).sum().backward()
    gradients = [inputs.grad, *(part.grad for part in (*first.parameters(), *linear.parameters()))]
    assert all(gradient is not None for gradient in gradients)
    return [output, *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("forward", [gelu_linear, lean_checkpointed])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_output_and_gradients_are_those_of_plain_autograd(
    forward: Callable[[Tensor, nn.Linear], Tensor], bias: bool, autocast: bool
) -> None:
    ours = results(forward, bias=bias, autocast=autocast)
    theirs = results(plain, bias=bias, autocast=autocast)

    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-6 if not autocast else 1e-2, atol=1e-6)


def test_gradients_of_frozen_weights_are_left_out() -> None:
    linear = nn.Linear(48, 12).requires_grad_(False)
    hidden = torch.randn(5, 48, requires_grad=True)

    gelu_linear(hidden, linear).sum().backward()

    assert hidden.grad is not None
    assert linear.weight.grad is None
    assert linear.bias.grad is None


def kept_elements(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """How many numbers autograd keeps for the backward pass, beside the parameters of ``module``."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in own:
            kept[place] = tensor  # alive, so that no other tensor gets its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values())


def test_one_of_the_two_wide_tensors_is_kept() -> None:
    hidden = torch.randn(5, 48, requires_grad=True) * 1.0
    linear = nn.Linear(48, 12)

    assert kept_elements(lambda: gelu_linear(hidden, linear), linear) == hidden.numel()
    assert kept_elements(lambda: plain(hidden, linear), linear) == 2 * hidden.numel()


def test_a_vit_keeps_less_and_computes_the_same() -> None:
    torch.manual_seed(0)
    encoder = timm_vit(image_size=32, patch_size=8, width=16, depth=2, heads=2)
    images = torch.randn(2, 3, 32, 32)
    lean, lean_kept = encoder(images), kept_elements(lambda: encoder(images), encoder)
    for block in encoder.vit.blocks:
        del block.mlp.forward

    assert torch.equal(lean, encoder(images))
    layers, tokens, hidden = 2, 2 * 17, 64
    assert kept_elements(lambda: encoder(images), encoder) - lean_kept == layers * tokens * hidden
