"""Word maps as pictures that are laid over a picture."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

LONGEST_EDGE = 64  # the browser smooths it to any size; a grid of patches has no finer detail
# Red, green, blue, opacity. Where it is lifted the picture keeps its colours; the tint shows on black.
_VEILED = np.array([24, 14, 52, 205], np.float32)
_LIFTED = np.array([255, 176, 0, 50], np.float32)


def heat_uri(weights: np.ndarray, size: tuple[int, int]) -> str:
    """Return weights ``(h, w)`` in [0, 1] as a data URI: a dark veil, lifted as far as a weight is high.

    Args:
        size: width and height of the picture they belong to, whose proportions the result has.
    """
    scale = LONGEST_EDGE / max(size)
    width, height = (max(1, round(edge * scale)) for edge in size)
    smooth = Image.fromarray(weights.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    colours = _VEILED + np.asarray(smooth)[:, :, None] * (_LIFTED - _VEILED)
    buffer = io.BytesIO()
    Image.fromarray(colours.round().astype(np.uint8)).save(buffer, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
