"""Reading BLIP's JSON lists."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmtk.data.readers.image_files import check_folder, read_image_file
from mmtk.data.texts import check_unicode, drop_blank
from mmtk.errors import DataError, SampleError
from mmtk.printable import printable
from mmtk.types import Quarantined, RawSample


class Item(NamedTuple):
    """One usable item of a list."""

    key: str
    image: Path
    texts: tuple[str, ...]
    image_id: str
    location: str


class BlipJsonReader:
    """Image-text pairs in JSON lists of ``{"image": PATH, "caption": TEXT | [TEXT, …], "image_id": …}``.

    The captions of a list are the texts of one sample. A sample's key is its image path without the suffix;
    items that share an image get their index in the list appended. ``image_id`` is the path by default.
    """

    def __init__(self, annotations: Path | Sequence[Path], images: Path, source: str = "") -> None:
        """Raises DataError when a list is missing or is no JSON list, or when the image folder is missing."""
        self.source = source
        self.images = Path(images)
        check_folder(self.images)
        self.quarantined: list[Quarantined] = []
        self._items: list[Item] = []
        keys: set[str] = set()
        for path in [annotations] if isinstance(annotations, str | Path) else annotations:
            for index, content in enumerate(load_list(Path(path))):
                location = f"{path}[{index}]"
                try:
                    image, texts, image_id = parse_item(content)
                except DataError as error:
                    self.quarantined.append(Quarantined(f"item {index}", str(error), location))
                    continue
                key = _free_key(image, index, keys)
                keys.add(key)
                self._items.append(Item(key, self.images / image, texts, image_id, location))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> RawSample:
        """Read one sample. Raises SampleError when its image file can't be read."""
        item = self._items[index]
        try:
            data = read_image_file(item.image)
        except DataError as error:
            raise SampleError(printable(str(error)), item.key, item.location) from error
        return RawSample(item.key, data, item.texts, item.image_id, self.source, item.location)


def load_list(path: Path) -> list[Any]:
    """Read a JSON list. Raises DataError with line and column when the file isn't one."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}:{error.colno}: bad JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: byte {error.start}") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits, too many brackets
        raise DataError(f"{path}: bad JSON: {error}") from error
    if not isinstance(content, list):
        raise DataError(f"{path}: a JSON list of items is expected, not {type(content).__name__}")
    return content


def parse_item(item: Any) -> tuple[str, tuple[str, ...], str]:
    """Return an item's image path, texts and image id. Raises DataError naming the field that is wrong."""
    if not isinstance(item, dict):
        raise DataError(f"bad item: an object is expected, not {type(item).__name__}")
    image = item.get("image")
    if not isinstance(image, str) or not image:
        raise DataError(
            "bad item: no field 'image' with a path" if image is None else f"bad item: image {image!r}"
        )
    captions = item.get("caption")
    if captions is None:
        raise DataError("no text: no field 'caption'")
    if captions == []:
        raise DataError("no text: the list of captions is empty")
    texts = captions if isinstance(captions, list) else [captions]
    if not all(isinstance(text, str) for text in texts):
        raise DataError("bad item: 'caption' must be a string or a list of strings")
    image_id = item.get("image_id")
    image_id = image if image_id in (None, "") else str(image_id)
    check_unicode(image, *texts, image_id)
    return image, drop_blank(texts), image_id


def _free_key(image: str, index: int, taken: set[str]) -> str:
    """Name an item after its image, in a way that can name a file in a shard."""
    stem = printable(os.path.splitext(image)[0]).strip("/").replace(".", "_") or "item"  # noqa: PTH122
    key, suffix = stem, f"-{index}"
    while key in taken:
        key += suffix
    return key
