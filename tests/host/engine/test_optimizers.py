from __future__ import annotations

import pytest
import torch
from torch import nn

from mmtk.engine.optimizers import AdamW, Implementation, is_bias_or_norm
from mmtk.errors import StageError


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(2)
        self.pos_embed = nn.Parameter(torch.ones(1, 4, 2))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 2))
        self.position_embeddings = nn.Embedding(4, 2)
        self.word_embeddings = nn.Embedding(4, 2)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def names_by_decay(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[float, set[str]]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        group["weight_decay"]: {names[id(parameter)] for parameter in group["params"]}
        for group in optimizer.param_groups
    }


def test_blips_setting_decays_every_trained_parameter() -> None:
    module = Parts()
    groups = names_by_decay(AdamW(lr=1e-3)(module.named_parameters()), module)
    assert list(groups) == [0.05]
    assert groups[0.05] == {name for name, _ in module.named_parameters()} - {"frozen"}


def test_usual_groups_spare_vectors_and_positions() -> None:
    module = Parts()
    optimizer = AdamW(lr=1e-3, weight_decay=0.1, no_decay="bias_and_norm")(module.named_parameters())
    groups = names_by_decay(optimizer, module)
    assert groups[0.1] == {"linear.weight", "word_embeddings.weight"}
    assert groups[0.0] == {
        "linear.bias",
        "norm.weight",
        "norm.bias",
        "pos_embed",
        "cls_token",
        "position_embeddings.weight",
        "temperature",
    }


def test_names_are_judged_by_their_parts() -> None:
    matrix = nn.Parameter(torch.ones(2, 2))
    assert is_bias_or_norm("model.text.embeddings.position_embeddings.weight", matrix)
    assert is_bias_or_norm("model.image.vit.pos_embed", matrix)
    assert not is_bias_or_norm("model.composition.weight", matrix)


def test_groups_without_parameters_are_left_out() -> None:
    optimizer = AdamW(lr=1e-3, no_decay="bias_and_norm")(nn.LayerNorm(2).named_parameters())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]


def test_step_is_decoupled_weight_decay() -> None:
    parameter = nn.Parameter(torch.tensor([[2.0, -1.0]]))
    optimizer = AdamW(lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.5)([("w", parameter)])
    parameter.grad = torch.tensor([[0.3, -4.0]])
    optimizer.step()
    # The first step moves by lr times the gradient's sign, after shrinking by 1 - lr * decay.
    torch.testing.assert_close(parameter.detach(), torch.tensor([[2 * 0.95 - 0.1, -0.95 + 0.1]]))


def weights_after(implementation: Implementation, device: str = "cpu") -> list[torch.Tensor]:
    """Weights after five steps on a module that lacks a gradient now and then."""
    torch.manual_seed(0)
    module = Parts().to(device)
    optimizer = AdamW(lr=0.05, implementation=implementation, no_decay="bias_and_norm")(
        module.named_parameters()
    )
    for step in range(5):
        for index, parameter in enumerate(module.parameters()):
            spared = index == step or not parameter.requires_grad
            parameter.grad = None if spared else torch.randn(parameter.shape).to(device)
        optimizer.step()
    return [parameter.detach().cpu() for parameter in module.parameters()]


@pytest.mark.parametrize("implementation", ["auto", "fused", "foreach"])
def test_all_implementations_take_the_same_steps(implementation: Implementation) -> None:
    for one, other in zip(weights_after(implementation), weights_after("plain"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("implementation", "fused", "foreach"),
    [("auto", True, None), ("fused", True, False), ("foreach", False, True), ("plain", False, False)],
)
def test_implementation_is_the_one_asked_for(
    implementation: Implementation, fused: bool, foreach: bool | None
) -> None:
    optimizer = AdamW(lr=0.05, implementation=implementation)(Parts().named_parameters())
    assert (optimizer.defaults["fused"], optimizer.defaults["foreach"]) == (fused, foreach)


def test_a_fused_kernel_that_is_not_there_is_one_message() -> None:
    on_meta = Parts().to("meta")
    with pytest.raises(StageError, match="adamw: there is no fused kernel on meta"):
        AdamW(lr=0.05, implementation="fused")(on_meta.named_parameters())
    assert AdamW(lr=0.05)(on_meta.named_parameters()).defaults["fused"] is False


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", ["auto", "fused", "foreach"])
def test_all_implementations_take_the_same_steps_on_cuda(implementation: Implementation) -> None:
    for one, other in zip(weights_after(implementation, "cuda"), weights_after("plain"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
