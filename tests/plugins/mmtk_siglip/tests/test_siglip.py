"""The loss against a plain formula, and the head's learned factors."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import mmtk_siglip.head
import pytest
import torch
from mmtk_siglip.head import SiglipHead, sigmoid_loss
from torch import Tensor, nn

IDS = [0, 1, 1, 2]


def context(image: Tensor, text: Tensor, ids: list[int], keys: list[int]) -> Any:
    matching = torch.tensor(ids)[:, None] == torch.tensor(keys)
    return SimpleNamespace(
        image=SimpleNamespace(features=image),
        text=SimpleNamespace(features=text),
        similarities=SimpleNamespace(matching=matching),
    )


@pytest.fixture
def features() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    image, text = (nn.functional.normalize(torch.randn(4, 6), dim=1).requires_grad_() for _ in range(2))
    return image, text


def plain_loss(image: Tensor, text: Tensor, temperature: float, bias: float) -> float:
    """The paper's equation, in Python's own floats."""
    total = 0.0
    for i, own in enumerate(IDS):
        for j, other in enumerate(IDS):
            cosine = sum(a * b for a, b in zip(image[i].tolist(), text[j].tolist(), strict=True))
            label = 1 if own == other else -1
            total += math.log(1 / (1 + math.exp(label * (-temperature * cosine - bias))))
    return -total / len(IDS)


@pytest.mark.parametrize(("temperature", "bias"), [(10.0, -10.0), (3.0, 1.5), (0.5, 0.0)])
def test_it_is_the_papers_formula(features: tuple[Tensor, Tensor], temperature: float, bias: float) -> None:
    head = SiglipHead(temperature=temperature, bias=bias, weight=0.5)
    output = head(context(*features, IDS, [*IDS, 0, 7]))  # two keys of a queue behind the batch
    assert output.loss.item() == pytest.approx(0.5 * plain_loss(*features, temperature, bias), rel=1e-5)
    assert output.metrics["temperature"].item() == pytest.approx(temperature)
    assert output.metrics["bias"].item() == bias


def test_the_learned_factors_have_the_formulas_gradients(features: tuple[Tensor, Tensor]) -> None:
    head = SiglipHead(temperature=3, bias=-1)
    head(context(*features, IDS, IDS)).loss.backward()
    step = 1e-5
    by_bias = plain_loss(*features, 3, -1 + step) - plain_loss(*features, 3, -1 - step)
    factor = math.exp(step)  # the factor's logarithm is what is learned
    by_log = plain_loss(*features, 3 * factor, -1) - plain_loss(*features, 3 / factor, -1)
    assert head.bias.grad is not None
    assert head.log_temperature.grad is not None
    assert head.bias.grad.item() == pytest.approx(by_bias / (2 * step), rel=1e-3)
    assert head.log_temperature.grad.item() == pytest.approx(by_log / (2 * step), rel=1e-3)


def test_ranks_together_lose_what_one_batch_of_all_loses(
    features: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, text = features
    head = SiglipHead(temperature=3, bias=-1)
    whole = head(context(image, text, IDS, IDS)).loss.item()
    monkeypatch.setattr(mmtk_siglip.head, "row_counts", lambda _: [2, 2])
    monkeypatch.setattr(mmtk_siglip.head, "gather_with_grad", lambda _, __: text)
    losses = []
    for rank in range(2):
        monkeypatch.setattr(mmtk_siglip.head, "own_first", lambda rows, _, rank=rank: rows.roll(2 * rank, 0))
        own, keys = IDS[2 * rank :][:2], IDS[2 * rank :] + IDS[: 2 * rank]
        rows = slice(2 * rank, 2 * rank + 2)
        losses.append(head(context(image[rows], text[rows], own, keys)).loss.item())
    assert sum(losses) / 2 == pytest.approx(whole, rel=1e-5)


def test_sure_answers_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]])
    assert sigmoid_loss(logits, logits > 0).item() == 0
    assert sigmoid_loss(logits, logits < 0).item() == pytest.approx(2e4)
