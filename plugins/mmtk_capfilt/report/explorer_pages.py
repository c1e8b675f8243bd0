"""The explorer's pictures: with the page, or in files beside it that a script asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.types

from mmtk.api import DataError, embedded_json, read_columns, readable
from mmtk_capfilt.report.pictures import data_uri

PER_PAGE = 50
# An image's picture, None where it can't be shown, and further ones with their labels.
Shown = tuple[str | None, list[tuple[str, str]]]
Extras = Mapping[str, list[tuple[str, bytes]]]


def read_extras(path: Path) -> dict[str, list[tuple[str, bytes]]]:
    """Return labels and encoded pictures by key. Raises DataError when the file has other columns."""
    table = read_columns(path, ("key", "label", "picture"))
    if not pa.types.is_binary(table["picture"].type) and not pa.types.is_large_binary(table["picture"].type):
        raise DataError(f"{path}: the column picture must be binary, not {table['picture'].type}")
    extras: dict[str, list[tuple[str, bytes]]] = {}
    for row in table.to_pylist():
        if row["picture"]:
            extras.setdefault(row["key"], []).append((str(row["label"] or ""), row["picture"]))
    return extras


def shown(image: bytes | None, extras: Sequence[tuple[str, bytes]]) -> Shown:
    """Return an image and its extras as the page takes them; what can't be decoded is left out."""
    uris = [(readable(label, 200), data_uri(picture)) for label, picture in extras]
    return data_uri(image) if image else None, [(label, uri) for label, uri in uris if uri]


def picture_pages(
    keys: Sequence[str], found: Iterable[tuple[str, bytes]], extras: Extras
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of a file for every ``PER_PAGE`` images, each as soon as its pictures are there.

    Those that are read late, or never, hold their page open. A script has its pictures as the property
    ``pictures`` of its element, because a page that was opened as a file can't fetch.
    """
    chunks = [keys[start : start + PER_PAGE] for start in range(0, len(keys), PER_PAGE)]
    page_of = {key: number for number, chunk in enumerate(chunks) for key in chunk}
    waiting = {number: set(chunk) for number, chunk in enumerate(chunks)}
    entries: dict[str, Shown] = {}
    for key, image in found:
        entries[key] = shown(image, extras.get(key, ()))
        number = page_of[key]
        waiting[number].discard(key)
        if not waiting[number]:
            del waiting[number]
            yield _page(number, [entries.pop(key) for key in chunks[number]])
    for number in waiting:
        for key in waiting[number]:
            entries[key] = shown(None, extras.get(key, ()))
        yield _page(number, [entries.pop(key) for key in chunks[number]])


def _page(number: int, pictures: Sequence[Shown]) -> tuple[str, bytes]:
    script = f"document.currentScript.pictures = {embedded_json(pictures)};\n"
    return f"page-{number + 1:04d}.js", script.encode("utf-8")
