"""Pictures as data URIs, small enough that a page can hold many."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from PIL import Image

from mmtk.api import DataError, Reader, decode_image

LONGEST_EDGE = 320
_SHOWN_AS_THEY_ARE = {"GIF", "JPEG", "PNG", "WEBP"}
_LARGEST_FILE = 60_000


def find_pictures(readers: Sequence[Reader], keys: Iterable[str]) -> dict[str, bytes]:
    """Return the encoded images of ``keys`` by key, those that no reader can read left out."""
    return dict(each_picture(readers, dict.fromkeys(keys, "")))


def each_picture(readers: Sequence[Reader], images: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield key and encoded image of those of ``images`` that a reader can read, in the readers' order.

    Readers can't look up a key, so they are walked through until every key is found.

    Args:
        images: image ids by key in the ledger. That of a human pair is the reader's key with a name behind
            it; such an image is found by its id.
    """
    missing = set(images)
    named: dict[str, list[str]] = defaultdict(list)
    for key, image_id in images.items():
        if image_id:
            named[image_id].append(key)
    for reader in readers:
        for index in range(len(reader)):
            if not missing:
                return
            try:
                sample = reader[index]
            except DataError:
                continue
            own = [key for key in named.get(sample.image_id, ()) if key.startswith(f"{sample.key}-")]
            for key in missing.intersection([sample.key, *own]):
                missing.remove(key)
                yield key, sample.image


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
