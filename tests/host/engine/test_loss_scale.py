from __future__ import annotations

import json

import pytest
import torch

from mmtk.engine.loss_scale import LossScale


def test_halves_after_an_overflow_and_doubles_after_2000_steps() -> None:
    scale = LossScale(enabled=True, value=1024.0)
    scale.update(overflow=True)
    assert (scale.value, scale.overflows) == (512.0, 1)
    for _ in range(1999):
        scale.update(overflow=False)
    assert scale.value == 512.0
    scale.update(overflow=False)
    assert (scale.value, scale.overflows) == (1024.0, 1)


def test_an_overflow_starts_the_count_anew() -> None:
    scale = LossScale(enabled=True, value=1024.0)
    for _ in range(1999):
        scale.update(overflow=False)
    scale.update(overflow=True)
    scale.update(overflow=False)
    assert scale.value == 512.0


def test_stays_within_its_bounds() -> None:
    scale = LossScale(enabled=True, value=2.0)
    assert not scale.at_floor
    for _ in range(3):
        scale.update(overflow=True)
    assert (scale.value, scale.at_floor) == (1.0, True)
    scale = LossScale(enabled=True, value=2.0**24)
    for _ in range(2000):
        scale.update(overflow=False)
    assert scale.value == 2.0**24


def test_state_survives_json() -> None:
    one, other = (LossScale(enabled=True) for _ in range(2))
    one.update(overflow=True)
    for _ in range(1500):
        one.update(overflow=False)
    other.load(json.loads(json.dumps(one.state())))
    for _ in range(500):
        other.update(overflow=False)
    assert (other.value, other.overflows) == (2.0**16, 1)


def test_divides_gradients_only_where_it_is_enabled() -> None:
    gradient = torch.tensor([8.0, 4.0])
    LossScale(enabled=False, value=4.0).unscale([gradient])
    assert gradient.tolist() == [8.0, 4.0]
    LossScale(enabled=True, value=4.0).unscale([gradient])
    assert gradient.tolist() == pytest.approx([2.0, 1.0])
