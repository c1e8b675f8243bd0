from __future__ import annotations

import torch
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.position_embeddings import resized

from mmtk.engine.initialise import take_over
from mmtk.engine.learner import Learner
from mmtk.types import ForeignWeights


def cubic(distance: float) -> float:
    """The cubic convolution kernel with a = -0.75, as torch's bicubic interpolation has it."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def along(length: int, before: torch.Tensor) -> torch.Tensor:
    """Interpolate the first axis to ``length`` entries, pixel centres aligned, edges repeated."""
    rows = []
    for place in range(length):
        source = (place + 0.5) * len(before) / length - 0.5
        first = int(source // 1)
        weights = [(index, cubic(source - index)) for index in range(first - 1, first + 3)]
        rows.append(sum(weight * before[min(max(index, 0), len(before) - 1)] for index, weight in weights))
    return torch.stack(rows)


def test_the_grid_is_interpolated_and_the_class_token_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(1, 1 + 9, 4, generator=generator)
    found = resized(embeddings, 25)
    assert torch.equal(found[:, 0], embeddings[:, 0])
    grid = embeddings[0, 1:].view(3, 3, 4)
    expected = along(5, along(5, grid).transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(found[0, 1:].view(5, 5, 4), expected, rtol=1e-4, atol=1e-5)


def test_equal_grids_keep_their_bits_and_odd_ones_are_left_alone() -> None:
    embeddings = torch.randn(1, 10, 4)
    assert resized(embeddings, 9) is embeddings
    assert resized(embeddings[:, :9], 25).shape == (1, 9, 4)


def test_a_learner_for_larger_pictures_takes_over_a_smaller_ones_weights() -> None:
    sizes = {"patch_size": 8, "width": 16, "depth": 1, "heads": 2}
    small, large = (Learner(timm_vit(image_size=size, **sizes), {}) for size in (16, 24))
    done = take_over(large, ForeignWeights(small.state_dict()), "small")
    assert not done.misshapen
    assert not done.fresh
    assert torch.equal(large.model.vit.pos_embed, resized(small.model.vit.pos_embed, 9))
