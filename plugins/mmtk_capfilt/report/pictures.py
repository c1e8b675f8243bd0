"""Pictures as data URIs, small enough that a page can hold many."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence

from PIL import Image

from mmtk.api import DataError, Reader
from mmtk.data.images.decode import decode_image

LONGEST_EDGE = 320
_SHOWN_AS_THEY_ARE = {"GIF", "JPEG", "PNG", "WEBP"}
_LARGEST_FILE = 60_000


def find_pictures(readers: Sequence[Reader], keys: Iterable[str]) -> dict[str, bytes]:
    """Return the encoded images of ``keys`` by key, those that no reader can read left out.

    Readers can't look up a key, so they are walked through until every key is found.
    """
    missing = set(keys)
    found: dict[str, bytes] = {}
    for reader in readers:
        for index in range(len(reader)):
            if not missing:
                return found
            try:
                sample = reader[index]
            except DataError:
                continue
            if sample.key in missing:
                found[sample.key] = sample.image
                missing.remove(sample.key)
    return found


def data_uri(image: bytes) -> str | None:
    """Return an image file as a data URI, scaled down when it is large; None when it can't be decoded."""
    try:
        picture = decode_image(image)
    except DataError:
        return None
    with Image.open(io.BytesIO(image)) as opened:
        format_ = opened.format or ""
    if format_ in _SHOWN_AS_THEY_ARE and max(picture.size) <= LONGEST_EDGE and len(image) <= _LARGEST_FILE:
        return _uri(format_, image)
    picture.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80)
    return _uri("WEBP", buffer.getvalue())


def _uri(format_: str, image: bytes) -> str:
    return f"data:image/{format_.lower()};base64,{base64.b64encode(image).decode('ascii')}"
