"""Files that are small and claim to be large, or that take much work for few pixels."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, PngImagePlugin

from .samples import encode


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*extra: bytes, edge: int = 16) -> bytes:
    """A PNG of 16 rows, whatever edge it claims to have, with further chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0))
    rows = zlib.compress((b"\0" + b"\xff\0\0" * edge) * 16)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes << 20), 9)


def jpeg_of_many_scans(edge: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, of a few bytes, is there again and again."""
    data = encode(Image.new("RGB", (edge, edge), "red"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def tiff(width: int, height: int, tile: tuple[int, int], compression: int = 8) -> bytes:
    """A grey TIFF of one tile."""
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (277, 3, 1),
        (322, 4, tile[0]),
        (323, 4, tile[1]),
        (324, 4, 200),
        (325, 4, 100),
    ]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    return head.ljust(200, b"\0") + zeros(1)[:100].ljust(100, b"\0")


def frames(format: str, count: int, edge: int = 200) -> bytes:
    """An animation, or a file of many pages."""
    pictures = [
        Image.new("RGB", (edge, edge), (number * 37 % 256, number * 91 % 256, 0)) for number in range(count)
    ]
    return encode(pictures[0], format, save_all=True, append_images=pictures[1:])


def jpeg_with_exif(segments: int) -> bytes:
    """A JPEG with that many EXIF segments of 64 KB."""
    plain = encode(Image.new("RGB", (16, 16), "red"), "JPEG")
    body = b"Exif\0\0II*\0" + bytes(65_000)
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    return plain[:2] + segment * segments + plain[2:]


def exif_of_circles() -> bytes:
    """A JPEG whose EXIF directory has 4000 entries that point at themselves."""
    entries = b"".join(struct.pack("<HHII", 0x8769 + n % 3, 4, 1, 8) for n in range(4000))
    body = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 4000) + entries + struct.pack("<I", 8)
    plain = encode(Image.new("RGB", (16, 16), "red"), "JPEG")
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WEBP that says how large its canvas is, around a small frame."""
    data = frames("WEBP", 2, 16)
    at = data.index(b"VP8X") + 12
    return data[:at] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[at + 6 :]


def gif_canvas(width: int, height: int) -> bytes:
    data = encode(Image.new("RGB", (16, 16), "red"), "GIF")
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def bmp(width: int, height: int) -> bytes:
    """A run-length encoded BMP without pixels."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 2000, 0, 0, 54 + 1024) + info + bytes(1024) + b"\0\1"


def text_chunk(megabytes: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("comment", "a" * (megabytes << 20), zip=True)
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "PNG", pnginfo=info)
    return file.getvalue()


def bombs() -> dict[str, bytes]:
    """All of them by name, none larger than a few megabytes."""
    packed = zeros(40)
    return {
        "png_ztxt": png(chunk(b"zTXt", b"comment\0\0" + packed)),
        "png_itxt": png(chunk(b"iTXt", b"comment\0\1\0\0\0" + packed)),
        "png_iccp": png(chunk(b"iCCP", b"profile\0\0" + packed)),
        "png_itxt_whole": text_chunk(40),
        "png_many_texts": png(*[chunk(b"zTXt", b"a\0\0" + zeros(1))] * 500),
        "png_size": png(edge=50_000),
        "gif_frames": frames("GIF", 800, 16),
        "gif_canvas": gif_canvas(65_535, 65_535),
        "tiff_pages": frames("TIFF", 500, 16),
        "tiff_tile": tiff(16, 16, (60_000, 60_000)),
        "tiff_tile_raw": tiff(16, 16, (60_000, 60_000), compression=1),
        "tiff_tile_overflow": tiff(16, 16, (2**31, 2**31)),
        "webp_frames": frames("WEBP", 200, 16),
        "webp_canvas": webp_canvas(60_000, 60_000),
        "webp_canvas_within_limits": webp_canvas(1900, 1900),
        "jpeg_exif": jpeg_with_exif(100),
        "jpeg_exif_circles": exif_of_circles(),
        "jpeg_scans": jpeg_of_many_scans(1900, 4000),
        "bmp_runs": bmp(60_000, 60_000),
        "bmp_runs_within_limits": bmp(1900, 1900),
    }
