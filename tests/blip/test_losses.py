"""Losses at literal values."""

from __future__ import annotations

import math

import pytest
import torch
from mmtk_blip.losses import CrossEntropy, LabelSmoothing, SoftContrastive

LOGITS = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])  # probabilities (¼, ¾) and (⅘, ⅕)


def test_soft_contrastive() -> None:
    targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    expected = (-(math.log(1 / 4) + math.log(3 / 4)) / 2 - math.log(4 / 5)) / 2
    assert SoftContrastive()(LOGITS, targets).item() == pytest.approx(expected)


def test_cross_entropy() -> None:
    expected = -(math.log(3 / 4) + math.log(4 / 5)) / 2
    assert CrossEntropy()(LOGITS, torch.tensor([1, 0])).item() == pytest.approx(expected)


def test_hard_targets_make_soft_contrastive_cross_entropy() -> None:
    classes = torch.tensor([1, 0])
    one_hot = torch.nn.functional.one_hot(classes, 2).float()
    torch.testing.assert_close(SoftContrastive()(LOGITS, one_hot), CrossEntropy()(LOGITS, classes))


def test_label_smoothing_spreads_mass_over_all_classes() -> None:
    smoothed = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    expected = SoftContrastive()(LOGITS, smoothed)
    torch.testing.assert_close(LabelSmoothing(0.2)(LOGITS, torch.tensor([1, 0])), expected)


def test_label_smoothing_floor_at_blips_vocabulary() -> None:
    """The best loss that smoothing 0.1 allows over 30,524 tokens, 1.358 nats."""
    classes, smoothing = 30524, 0.1
    target = torch.full((1, classes), smoothing / classes, dtype=torch.float64)
    target[0, 7] += 1 - smoothing
    loss = LabelSmoothing(smoothing)(target.log(), torch.tensor([7]))
    assert loss.item() == pytest.approx(1.358, abs=5e-4)
