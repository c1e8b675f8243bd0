"""Affine maps of pictures, from tables that are made once per map and size."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmtk.data.images.pixels import from_pixels, pixel_view

FILL = (128, 128, 128)
# Two of a pixel's four bytes, with 8 bits of room each: 256 weights fit in.
PAIR = np.uint32(0x00FF00FF)
HALF = np.uint32(0x00800080)
FILL_PIXEL = np.uint32(int.from_bytes(bytes((*FILL, 0)), "little"))

Coefficients = tuple[float, float, float, float, float, float]


class Neighbour(NamedTuple):
    """One of the pixels that each pixel of the result is mixed from.

    Attributes:
        places: ``(height * width,)`` int64 indices of flat pixels; the one behind the last is the filling.
        weights: ``(height * width,)`` uint32, of 256.
    """

    places: np.ndarray
    weights: np.ndarray


def warp(image: Image.Image, coefficients: Coefficients) -> Image.Image:
    """Fill each pixel (x, y) of an RGB picture from (a x + b y + c, d x + e y + f), bilinearly.

    As Pillow's ``Image.transform`` with a grey filling, in a quarter to half of the time. Weights have 8
    bits: noise may differ by 2 of 255.
    """
    width, height = image.size
    flat = np.empty(width * height + 1, dtype="<u4")
    flat[:-1] = pixel_view(image).reshape(-1).view("<u4")
    flat[-1] = FILL_PIXEL
    even, odd = np.full(width * height, HALF), np.full(width * height, HALF)
    pixels, part = np.empty_like(even), np.empty_like(even)
    for places, weights in _neighbours(image.size, coefficients):
        np.take(flat, places, out=pixels, mode="clip")
        np.bitwise_and(pixels, PAIR, out=part)
        part *= weights
        even += part
        pixels >>= np.uint32(8)
        pixels &= PAIR
        pixels *= weights
        odd += pixels
    even >>= np.uint32(8)
    even &= PAIR
    odd &= ~PAIR
    even |= odd
    return from_pixels(even.astype("<u4", copy=False).view(np.uint8).reshape(height, width, 4))


def shift(image: Image.Image, right: int, down: int) -> Image.Image:
    """Move an RGB picture by whole pixels, onto the grey filling."""
    canvas = Image.new("RGB", image.size, FILL)
    canvas.paste(image, (right, down))
    return canvas


def rotation(size: tuple[int, int], degrees: float) -> Coefficients:
    """Return the map that turns a picture counter-clockwise about its centre."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = size[0] / 2, size[1] / 2
    return (cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y)


@lru_cache(maxsize=32)  # 4 MB for a rotation at 224 pixels
def _neighbours(size: tuple[int, int], coefficients: Coefficients) -> tuple[Neighbour, ...]:
    """The two or four neighbours that have a weight anywhere. Pixels are squares with centres at halves."""
    a, b, c, d, e, f = coefficients
    width, height = size
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    across, down = a * x + b * y + c, d * x + e * y + f
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    left, top = np.floor(across - 0.5), np.floor(down - 0.5)
    right_share, bottom_share = across - 0.5 - left, down - 0.5 - top
    corners = (
        (1, 0, right_share * (1 - bottom_share)),
        (0, 1, (1 - right_share) * bottom_share),
        (1, 1, right_share * bottom_share),
    )
    found, rest = [], np.full((height, width), 256, dtype=np.int64)
    for to_right, below, share in corners:
        weights = np.minimum(np.rint(share * 256).astype(np.int64), rest)
        rest = rest - weights
        found.append((to_right, below, weights))
    neighbours = []
    for to_right, below, weights in [(0, 0, rest), *found]:
        if not weights.any():
            continue
        column = np.clip(left + to_right, 0, width - 1)
        row = np.clip(top + below, 0, height - 1)
        places = np.where(inside, row * width + column, width * height).astype(np.intp)
        neighbours.append(Neighbour(places.ravel(), weights.astype(np.uint32).ravel()))
    return tuple(neighbours)
