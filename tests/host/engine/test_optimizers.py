from __future__ import annotations

import torch
from torch import nn

from mmtk.engine.optimizers import AdamW, is_bias_or_norm


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
