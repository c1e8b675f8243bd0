"""From an encoded image to RGB pixels, with every reason to refuse it as a DataError."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from mmtk.data.configs import DEFAULT_LIMITS, ImageLimits
from mmtk.errors import DataError

# Those that shards can hold. Pillow knows others that hand a file on to other programs (EPS to Ghostscript).
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

# Pillow warns of very large pictures, which max_pixels deals with, and of damaged metadata, which is unused.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode the first frame: upright by its EXIF orientation, transparency flattened on white.

    Returns an image of mode RGB. Raises DataError when the data is no image, damaged, truncated or outside
    ``limits``, which are judged by the header alone.
    """
    if not data:
        raise DataError("empty image file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"image too large: {error}") from error
    except Exception as error:  # damaged headers make Pillow raise a dozen unrelated types
        raise DataError(f"unreadable image: no known format, {len(data)} bytes") from error
    check_size(*image.size, limits)
    try:
        image.load()
        return flatten(ImageOps.exif_transpose(image))
    except Exception as error:  # likewise for damaged pixels
        raise DataError(f"unreadable image: {image.format} data is damaged or truncated ({error})") from error


def check_size(width: int, height: int, limits: ImageLimits) -> None:
    """Raises DataError when an image of this size is outside the limits."""
    size = f"{width}x{height} pixels"
    if min(width, height) < limits.min_edge:
        raise DataError(f"image too small: {size}, the shorter edge must have at least {limits.min_edge}")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise DataError(f"image too elongated: {size}, the greatest allowed ratio is {limits.max_aspect:g}:1")
    if width * height > limits.max_pixels:
        raise DataError(f"image too large: {size}, more than {limits.max_pixels} in all")


def flatten(image: Image.Image) -> Image.Image:
    """Return the image as RGB, transparent pixels on white and 16-bit greys scaled down to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if "transparency" not in image.info and image.mode not in ("RGBA", "RGBa", "LA", "La", "PA"):
        return image.convert("RGB")
    pixels = image.convert("RGBA")
    white = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(white, pixels).convert("RGB")
