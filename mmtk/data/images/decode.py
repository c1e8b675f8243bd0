"""From an encoded image to RGB pixels, with every reason to refuse it as a DataError."""

from __future__ import annotations

import io
import warnings
from functools import cached_property

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from mmtk.data.configs import DEFAULT_LIMITS, ImageLimits
from mmtk.errors import DataError

# Those that shards can hold. Pillow knows others that hand a file on to other programs (EPS to Ghostscript).
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
JPEGS = ("JPEG", "MPO")  # Pillow's name for a JPEG that further pictures follow
START_OF_SCAN = 0xDAFF  # the bytes FF DA
SCANS = 16  # of a JPEG as large as max_pixels; a smaller one may have more
TILE_SIZE = (322, 323)  # TIFF's tags
ORIENTATION = 0x0112  # EXIF's tag
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow hands a file to its decoder in parts of 64 KB, and each further part costs time.
ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 1 << 20)
# Pillow warns of very large pictures, which max_pixels deals with, and of damaged metadata, which is unused.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class EncodedPicture:
    """A picture of which only the header has been read, so that no more of it is decoded than is needed."""

    def __init__(self, data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        """Read the header. Raises DataError when the data is no image or outside ``limits``."""
        self._data = data
        self._limits = limits
        self._opened: Image.Image | None = _open(data, limits)
        self._reducible = self._opened.format in JPEGS
        self._whole: Image.Image | None = None

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture. Raises DataError as ``decode`` does."""
        image = self._opened
        if image is None or not self._reducible:
            return self.decode().size
        turned = _orientation(image) in SIDEWAYS
        return (image.height, image.width) if turned else image.size

    def decode(self, reduction: int = 1) -> Image.Image:
        """Decode the picture: upright by its EXIF orientation, transparency flattened on white, mode RGB.

        Args:
            reduction: 2, 4 or 8 has a JPEG decoded to that part of its width and height, rounded up, which
                takes less time. Other formats are decoded as a whole, and so is a turned picture that it
                doesn't divide, because turning would move its pixels off the grid.

        Raises DataError when the pixels are damaged or truncated.
        """
        if self._whole is not None:
            return self._whole
        image, self._opened = self._opened or _open(self._data, self._limits), None
        turn = UPRIGHT.get(_orientation(image)) if self._reducible else None
        if not self._reducible or (
            turn is not None and (image.width % reduction or image.height % reduction)
        ):
            reduction = 1
        try:
            if reduction > 1:
                # Pillow takes the largest reduction whose result has at least this size.
                image.draft(None, (max(image.width // reduction, 1), max(image.height // reduction, 1)))
            image.load()
        except Exception as error:  # damaged pixels make Pillow raise a dozen unrelated types
            raise _damaged(image, error) from error
        turn = UPRIGHT.get(_orientation(image))  # PNG may tell it behind the pixels
        image = flatten(image if turn is None else image.transpose(turn))
        if reduction == 1:
            self._whole = image
        return image


def decode_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode the first frame: upright by its EXIF orientation, transparency flattened on white.

    Returns an image of mode RGB. Raises DataError when the data is no image, damaged, truncated or outside
    ``limits``, which are judged by the header alone.
    """
    return EncodedPicture(data, limits).decode()


def _open(data: bytes, limits: ImageLimits) -> Image.Image:
    """Read the header and judge by it. Raises DataError."""
    if not data:
        raise DataError("empty image file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"image too large: {error}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"unreadable image: no known format, {len(data)} bytes") from error
    except Exception as error:  # likewise for damaged headers
        raise DataError(f"unreadable image: its header is damaged or too large ({error})") from error
    check_size(*image.size, limits)
    _check_work(image, data, limits)
    return image


def check_size(width: int, height: int, limits: ImageLimits) -> None:
    """Raises DataError when an image of this size is outside the limits."""
    size = f"{width}x{height} pixels"
    if min(width, height) < limits.min_edge:
        raise DataError(f"image too small: {size}, the shorter edge must have at least {limits.min_edge}")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise DataError(f"image too elongated: {size}, the greatest allowed ratio is {limits.max_aspect:g}:1")
    if width * height > limits.max_pixels:
        raise DataError(f"image too large: {size}, more than {limits.max_pixels} in all")


def _check_work(image: Image.Image, data: bytes, limits: ImageLimits) -> None:
    """Raises DataError for files whose few pixels would take the time or the memory of many."""
    if image.format in JPEGS:
        # A scan of a few bytes passes over the whole picture.
        scans = _scans(data)
        if scans * image.width * image.height > SCANS * limits.max_pixels:
            raise DataError(f"image too large: {image.width}x{image.height} pixels in {scans} scans")
    if image.format == "TIFF":
        # A tile is decoded as a whole, however little of it the picture shows.
        width, height = (image.tag_v2.get(tag, 1) for tag in TILE_SIZE)  # type: ignore[attr-defined]
        if not isinstance(width, int) or not isinstance(height, int) or width * height > limits.max_pixels:
            raise DataError(f"image too large: tiles of {width}x{height} pixels")


def _scans(data: bytes) -> int:
    """Count a JPEG's scans; a thumbnail's count too. Several times as fast as ``bytes.count``."""
    # Pairs of bytes that begin at even places, and those that begin at odd ones.
    pairs = (np.frombuffer(data, "<u2", (len(data) - odd) // 2, odd) for odd in (0, 1))
    return sum(int(np.count_nonzero(each == START_OF_SCAN)) for each in pairs)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception as error:  # likewise for damaged metadata
        raise _damaged(image, error) from error


def _damaged(image: Image.Image, error: Exception) -> DataError:
    return DataError(f"unreadable image: {image.format} data is damaged or truncated ({error})")


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
