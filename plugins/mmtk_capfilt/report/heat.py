"""Word maps as pictures that are laid over a picture."""

from __future__ import annotations

import base64
import io

import matplotlib
import numpy as np
from PIL import Image

LONGEST_EDGE = 64  # the browser smooths it to any size; a grid of patches has no finer detail
_COLOURS = "inferno"
_OPACITY = 0.66


def heat_uri(weights: np.ndarray, size: tuple[int, int]) -> str:
    """Return weights ``(h, w)`` in [0, 1] as a data URI: dark for 0, bright for 1, half transparent.

    Args:
        size: width and height of the picture they belong to, whose proportions the result has.
    """
    scale = LONGEST_EDGE / max(size)
    width, height = (max(1, round(edge * scale)) for edge in size)
    smooth = Image.fromarray(weights.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    colours = matplotlib.colormaps[_COLOURS](np.asarray(smooth), alpha=_OPACITY, bytes=True)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
