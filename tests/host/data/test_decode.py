from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmtk.data.configs import ImageLimits
from mmtk.data.images.decode import EncodedPicture, decode_image
from mmtk.errors import DataError

from .samples import encode, picture

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_decodes_to_rgb(format: str) -> None:
    image = decode_image(picture(20, 16, format=format))
    assert (image.mode, image.size) == ("RGB", (20, 16))


def test_lossless_pixels_arrive_unchanged() -> None:
    data = picture(20, 16)
    assert np.array_equal(np.asarray(decode_image(data)), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_images_are_data_errors(format: str) -> None:
    data = picture(40, 40, format=format)
    with pytest.raises(DataError, match=r"^unreadable image: "):
        decode_image(data[: len(data) * 2 // 3])


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_no_images_are_data_errors(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^(unreadable|empty) image"):
        decode_image(data)


def test_postscript_is_no_image_and_reaches_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(DataError, match=r"^unreadable image: no known format"):
        decode_image(picture(format="EPS"))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    format=st.sampled_from(FORMATS),
    cut=st.integers(0, 4000),
    flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 255)), max_size=6),
)
def test_damage_never_raises_anything_else(format: str, cut: int, flips: list[tuple[int, int]]) -> None:
    data = bytearray(picture(24, 24, format=format)[:cut])
    for place, change in flips:
        if place < len(data):
            data[place] ^= change
    with contextlib.suppress(DataError):
        assert decode_image(bytes(data)).mode == "RGB"


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((1, 1), "image too small: 1x1 pixels, the shorter edge must have at least 8"),
        ((7, 100), "image too small: 7x100 pixels"),
        ((20000, 10), "image too elongated: 20000x10 pixels, the greatest allowed ratio is 20:1"),
        ((10, 20000), "image too elongated"),
    ],
)
def test_default_limits_refuse(size: tuple[int, int], reason: str) -> None:
    with pytest.raises(DataError) as caught:
        decode_image(encode(Image.new("RGB", size)))
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (160, 8), (8, 160)])
def test_default_limits_pass(size: tuple[int, int]) -> None:
    assert decode_image(encode(Image.new("RGB", size))).size == size


def test_limits_are_parameters() -> None:
    limits = ImageLimits(min_edge=1, max_aspect=2000, max_pixels=200_000)
    assert decode_image(encode(Image.new("RGB", (1, 1))), limits).size == (1, 1)
    assert decode_image(encode(Image.new("RGB", (20000, 10))), limits).size == (20000, 10)
    with pytest.raises(DataError, match="image too large: 500x500 pixels, more than 200000"):
        decode_image(encode(Image.new("RGB", (500, 500))), limits)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


@pytest.mark.parametrize("edge", [8001, 10_000, 20_000, 60_000])
@pytest.mark.filterwarnings("ignore")
def test_bombs_are_refused_by_their_header(edge: int) -> None:
    with pytest.raises(DataError, match="image too large"):
        decode_image(png_header(edge, edge))


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (30, 20), "red")
    image.paste("blue", (0, 0, 30, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
    upright = decode_image(encode(image, "PNG", exif=exif))
    assert upright.size == (20, 30)
    assert upright.getpixel((2, 15)) == (255, 0, 0)
    assert upright.getpixel((17, 15)) == (0, 0, 255)


def transparent(mode: str) -> bytes:
    """A picture in ``mode`` whose left half is opaque black and whose right half is transparent black."""
    image = Image.new("RGBA", (20, 10), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (10, 0, 20, 10))
    if mode == "P":
        palette = Image.new("P", (20, 10), 0)
        palette.paste(1, (10, 0, 20, 10))
        palette.putpalette([0, 0, 0, 0, 0, 0])
        return encode(palette, transparency=1)
    return encode(image.convert(mode))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_flattened_on_white(mode: str) -> None:
    image = decode_image(transparent(mode))
    assert image.getpixel((2, 5)) == (0, 0, 0)
    assert image.getpixel((15, 5)) == (255, 255, 255)


def test_a_transparent_colour_of_an_rgb_picture_is_white() -> None:
    image = Image.new("RGB", (10, 10), (1, 2, 3))
    assert decode_image(encode(image, transparency=(1, 2, 3))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_modes(mode: str) -> None:
    format = "TIFF" if mode == "CMYK" else "PNG"
    white = Image.new("RGB", (10, 10), "white").convert(mode)
    assert decode_image(encode(white, format)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_greys_keep_their_tone() -> None:
    pixels = np.full((10, 10), 0x8000, dtype=np.uint16)
    assert decode_image(encode(Image.fromarray(pixels))).getpixel((0, 0)) == (128, 128, 128)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data).getpixel((0, 0)) == (255, 0, 0)


def test_a_header_tells_a_jpegs_upright_size() -> None:
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        data = encode(Image.new("RGB", (48, 32)), "JPEG", exif=exif)
        encoded = EncodedPicture(data)
        assert encoded.size == decode_image(data).size == ((32, 48) if orientation >= 5 else (48, 32))
        assert encoded.decode(2).size == ((16, 24) if orientation >= 5 else (24, 16))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_decoded_once_and_as_a_whole(format: str) -> None:
    encoded = EncodedPicture(picture(40, 30, format=format))
    assert encoded.size == (40, 30)
    whole = encoded.decode()
    assert whole.size == (40, 30)
    assert encoded.decode(4) is whole


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpegs_can_be_decoded_smaller_and_again(options: dict[str, object]) -> None:
    soft = Image.open(io.BytesIO(picture(8, 6))).resize((81, 63), Image.Resampling.BICUBIC)
    data = encode(soft, "JPEG", **options)
    encoded = EncodedPicture(data)
    assert encoded.decode(8).size == (11, 8)
    assert encoded.decode(2).size == (41, 32)
    assert encoded.decode().tobytes() == decode_image(data).tobytes()
    assert encoded.size == (81, 63)


def test_truncated_jpegs_are_data_errors_at_every_size() -> None:
    data = picture(200, 200, format="JPEG")
    for reduction in (1, 2, 8):
        with pytest.raises(DataError, match=r"^unreadable image: JPEG data is damaged"):
            EncodedPicture(data[: len(data) // 2]).decode(reduction)
