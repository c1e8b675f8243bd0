from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmtk.data.images.pixels import from_pixels, pixel_view


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (2500, 2000)])  # the last is more than one piece for Pillow
def test_pixels_are_pillows(size: tuple[int, int]) -> None:
    image = noise(*size)
    pixels = pixel_view(image)
    assert pixels.shape == (size[1], size[0], 4)
    assert np.array_equal(pixels[..., :3], np.asarray(image))


def test_older_pillow_gives_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Image.Image, "__arrow_c_array__", raising=False)
    assert np.array_equal(pixel_view(noise(7, 5))[..., :3], np.asarray(noise(7, 5)))


def test_a_view_outlives_its_picture() -> None:
    pixels = pixel_view(noise(300, 200))
    for _ in range(20):
        noise(300, 200)
    assert np.array_equal(pixels[..., :3], np.asarray(noise(300, 200)))


def test_there_and_back() -> None:
    image = noise(9, 4)
    assert from_pixels(pixel_view(image)).tobytes() == image.tobytes()
    part = from_pixels(pixel_view(image)[1:3, 2:7])
    assert part.tobytes() == image.crop((2, 1, 7, 3)).tobytes()
