from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmtk.data.images.warp import FILL, Coefficients, rotation, shift, warp

HOW = Image.Resampling.BILINEAR


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def difference(found: Image.Image, expected: Image.Image) -> int:
    assert (found.mode, found.size) == ("RGB", expected.size)
    return int(np.abs(np.asarray(found).astype(int) - np.asarray(expected)).max())


@pytest.mark.parametrize("size", [(64, 64), (50, 31), (1, 1)])
@pytest.mark.parametrize(
    "coefficients",
    [
        (1, 0, 0, 0, 1, 0),
        (1, 0.15, 0, 0, 1, 0),
        (1, -0.15, 0, 0, 1, 0),
        (1, 0, 0, 0.3, 1, 0),
        (1, 0, 2.5, 0, 1, -3.25),
        (0.7, 0.2, 3, -0.4, 1.3, -7),
        (1, 0, 500, 0, 1, 0),
    ],
)
def test_maps_are_pillows_but_for_a_rounding(size: tuple[int, int], coefficients: Coefficients) -> None:
    image = noise(*size)
    expected = image.transform(size, Image.Transform.AFFINE, coefficients, HOW, fillcolor=FILL)
    assert difference(warp(image, coefficients), expected) <= 2


@pytest.mark.parametrize("degrees", [15, -15, 3, -30])
@pytest.mark.parametrize("size", [(64, 64), (50, 31)])
def test_rotations_are_pillows_but_for_a_rounding(size: tuple[int, int], degrees: float) -> None:
    image = noise(*size)
    expected = image.rotate(degrees, HOW, fillcolor=FILL)
    found = np.asarray(warp(image, rotation(size, degrees))).astype(int)
    # Pillow rounds the map to 15 decimals: a pixel on the very edge may fall on either side of it.
    assert (np.abs(found - np.asarray(expected)).max(axis=2) > 2).sum() <= 2


def test_the_identity_changes_nothing_and_every_weight_is_used() -> None:
    white = Image.new("RGB", (40, 40), "white")
    assert warp(noise(40, 40), (1, 0, 0, 0, 1, 0)).tobytes() == noise(40, 40).tobytes()
    inner = np.asarray(warp(white, rotation((40, 40), 15)))[12:28, 12:28]
    assert (inner == 255).all()


@pytest.mark.parametrize(("right", "down"), [(5, 0), (-5, 0), (0, 5), (0, -5), (100, 0), (0, 0)])
def test_shifts_by_whole_pixels_are_exactly_pillows(right: int, down: int) -> None:
    image = noise(40, 30)
    map_ = (1, 0, -right, 0, 1, -down)
    expected = image.transform(image.size, Image.Transform.AFFINE, map_, HOW, fillcolor=FILL)
    assert shift(image, right, down).tobytes() == expected.tobytes()
