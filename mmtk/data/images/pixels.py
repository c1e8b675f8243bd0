"""A picture's pixels as arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from PIL import Image


def pixel_view(image: Image.Image) -> np.ndarray:
    """Return an RGB picture's pixels ``(H, W, 4)`` uint8, to be read only; the fourth channel means nothing.

    They are Pillow's own memory where it is in one piece (up to 16 MB), and a copy elsewhere.
    """
    if hasattr(image, "__arrow_c_array__"):  # Pillow 11.2
        try:
            flat = pa.array(image).values.to_numpy(zero_copy_only=True)
        except ValueError:  # in several pieces
            pass
        else:
            return flat.reshape(image.height, image.width, 4)
    return np.frombuffer(image.tobytes("raw", "RGBX"), dtype=np.uint8).reshape(image.height, image.width, 4)


def from_pixels(pixels: np.ndarray) -> Image.Image:
    """Return an RGB picture of pixels ``(H, W, 4)`` uint8."""
    height, width = pixels.shape[:2]
    return Image.frombytes("RGB", (width, height), np.ascontiguousarray(pixels), "raw", "RGBX")
