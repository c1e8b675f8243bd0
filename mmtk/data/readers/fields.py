"""From a row of a table, whatever it was read from, to a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtk.data.readers.image_files import image_path, read_image_file
from mmtk.data.readers.tar_samples import MAX_IMAGE, MAX_TEXT
from mmtk.data.texts import check_unicode, drop_blank
from mmtk.errors import DataError
from mmtk.printable import printable
from mmtk.types import RawSample


@dataclass(frozen=True)
class Fields:
    """Which columns of a table are what.

    Attributes:
        image: the column of the pictures: bytes, a path, or a mapping with ``bytes`` and ``path``.
        texts: the columns of the texts, each a text or a list of texts; those that are null count nothing.
        image_id: the column that says which rows show one picture; may be missing.
        source: where the texts come from.
    """

    image: str
    texts: tuple[str, ...]
    image_id: str
    source: str

    @classmethod
    def of(cls, image: str, text: str | Sequence[str], image_id: str, source: str) -> Fields:
        """Take the names as a recipe gives them."""
        return cls(image, (text,) if isinstance(text, str) else tuple(text), image_id, source)

    @property
    def required(self) -> tuple[str, ...]:
        return self.image, *self.texts

    def check(self, columns: Sequence[str], file: Path) -> list[str]:
        """Return which of a table's columns are read. Raises DataError when one is missing."""
        missing = [name for name in self.required if name not in columns]
        if missing:
            words = ", ".join(map(repr, missing))
            raise DataError(f"{file}: no column {words}; there are: {printable(', '.join(columns))}")
        return [name for name in dict.fromkeys((*self.required, self.image_id)) if name in columns]

    def sample(self, row: Mapping[str, Any], images: Path, key: str, location: str) -> RawSample:
        """Make a sample of a row; ``images`` is the folder that paths start from.

        Without an ``image_id``, rows with one path or with the same bytes show the same picture.

        Raises DataError naming the field that is wrong, or when the picture's file can't be read.
        """
        texts = self._texts(row)
        image, name = self._image(row, images)
        image_id = row.get(self.image_id)
        if image_id is None or image_id == "":
            image_id = name or hashlib.blake2b(image, digest_size=16).hexdigest()
        check_unicode(*texts, str(image_id))
        return RawSample(key, image, texts, printable(str(image_id)), self.source, location)

    def _texts(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        found: list[str] = []
        for column in self.texts:
            value = row.get(column)
            texts = value if isinstance(value, list) else [] if value is None else [value]
            if not all(isinstance(text, str) for text in texts):
                raise DataError(f"bad item: {column!r} must be a text or a list of texts")
            found += texts
        if not found:
            names = ", ".join(repr(column) for column in self.texts)
            raise DataError(f"no text: nothing in {names}")
        if sum(map(len, found)) > MAX_TEXT:
            raise DataError(f"too large a text: more than {MAX_TEXT} characters")
        return drop_blank(found)

    def _image(self, row: Mapping[str, Any], images: Path) -> tuple[bytes, str]:
        """Return a picture's bytes, and the path that names it where it is a file of its own."""
        value = row.get(self.image)
        if isinstance(value, Mapping):
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if value is None or value == "":
            raise DataError(f"no image: nothing in {self.image!r}")
        if isinstance(value, bytes):
            if len(value) > MAX_IMAGE:
                raise DataError(f"image too large: {len(value)} bytes, the limit is {MAX_IMAGE}")
            return value, ""
        if not isinstance(value, str):
            raise DataError(f"bad item: {self.image!r} must be bytes or a path, not {type(value).__name__}")
        check_unicode(value)
        return read_image_file(image_path(images, value)), value


def file_names(files: Sequence[str | Path]) -> list[str]:
    """Name files in keys: by their names without suffix, with their number where two would be the same."""
    stems = [printable(Path(file).stem).replace(".", "_") or "file" for file in files]
    return [stem if stems.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(stems)]
