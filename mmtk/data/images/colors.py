"""Brightness, contrast, saturation, hue and grey as one colour matrix, in one pass over the picture."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from mmtk.data.configs import ColorJitter
from mmtk.data.images.draws import Draws

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
GREY = np.tile(LUMA, (3, 1))
# NTSC's YIQ space: hue is an angle in its IQ plane.
TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
FROM_YIQ = np.linalg.inv(TO_YIQ)


def jitter_matrix(image: Image.Image, jitter: ColorJitter, grey: bool, draws: Draws) -> tuple[float, ...]:
    """Draw a colour change: brightness, contrast, saturation, hue, grey, clipped once after all of them.

    Returns the 12 numbers that ``Image.convert`` takes: three rows of ``(red, green, blue, offset)``.
    """
    matrix, offset = np.eye(3), 0.0
    if jitter.brightness:
        matrix *= _factor(jitter.brightness, draws)
    if jitter.contrast:
        factor = _factor(jitter.contrast, draws)
        mean = np.array(image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))
        offset = (1 - factor) * float(LUMA @ (matrix @ mean))
        matrix *= factor
    # The steps that follow leave grey as it is, and the offset is a grey.
    if jitter.saturation:
        factor = _factor(jitter.saturation, draws)
        matrix = (factor * np.eye(3) + (1 - factor) * GREY) @ matrix
    if jitter.hue:
        matrix = hue_rotation(draws.between(-jitter.hue, jitter.hue)) @ matrix
    if grey:
        matrix = GREY @ matrix
    return tuple(np.column_stack([matrix, np.full(3, offset)]).ravel().tolist())


def hue_rotation(turns: float) -> np.ndarray:
    """Return the ``(3, 3)`` matrix that turns the hue of an RGB colour and keeps its luma."""
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    return FROM_YIQ @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ TO_YIQ


def _factor(strength: float, draws: Draws) -> float:
    return draws.between(1 - strength, 1 + strength)
