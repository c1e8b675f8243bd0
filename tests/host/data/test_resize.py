from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmtk.data.images import resize

BOXES = [(0, 0, 90, 70), (5, 3, 85, 60), (10, 10, 30, 34), (40, 0, 41, 70)]


def noise(width: int = 90, height: int = 70) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", [(24, 24), (24, 7), (120, 96), (1, 1)])
def test_both_ways_agree_with_pillow(
    fast: bool, box: resize.Box, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resize, "FAST", fast)
    expected = noise().crop(box).resize(size, Image.Resampling.BICUBIC)
    found = resize.resized(noise(), box, size)
    assert (found.mode, found.size) == ("RGB", size)
    difference = np.abs(np.asarray(found).astype(int) - np.asarray(expected))
    assert difference.max() <= 6  # of noise, where rounding comes before and after clipping
    assert (difference > 1).mean() < 0.02


def test_a_box_of_the_right_size_is_cut_out_as_it_is() -> None:
    box = (3, 4, 27, 28)
    assert resize.resized(noise(), box, (24, 24)).tobytes() == noise().crop(box).tobytes()


def test_the_picture_stays_as_it_is() -> None:
    image = noise()
    before = image.tobytes()
    resize.resized(image, (0, 0, 60, 60), (20, 20))
    assert image.tobytes() == before
