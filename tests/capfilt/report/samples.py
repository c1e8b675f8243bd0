"""Small ledgers, pictures and readers."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from mmtk_capfilt.ledger import LedgerRow, to_table
from PIL import Image

from mmtk.api import DataError, Quarantined, RawSample

THRESHOLD = 0.5


def picture(color: str = "red", size: tuple[int, int] = (32, 32), format_: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format_)
    return buffer.getvalue()


def text_row(key: str, source: str, text: str, probability: float | None, reason: str = "") -> LedgerRow:
    """A row as the filter writes it: without a reason of its own, the threshold decides."""
    if not reason and probability is not None and probability < THRESHOLD:
        reason = f"itm_probability below {THRESHOLD:g}"
    similarity = None if probability is None else probability / 2
    return LedgerRow(key, key, source, text, probability, similarity, not reason, reason)


def pair(key: str, web: float, synthetic: float) -> list[LedgerRow]:
    return [
        text_row(key, "web", f"web text of {key}", web),
        text_row(key, "synthetic", f"synthetic text of {key}", synthetic),
    ]


def failed_row(key: str, reason: str = "unreadable image: 12 bytes") -> LedgerRow:
    return LedgerRow(key, "", "image", "", None, None, False, reason)


def write_ledger(folder: Path, rows: Sequence[LedgerRow]) -> Path:
    path = folder / "ledger.parquet"
    pq.write_table(to_table(rows), path)
    return path


def write_funnel(folder: Path, **changes: Any) -> Path:
    counts = {
        "images": 3090,
        "captioned": 3084,
        "candidates": 6168,
        "kept_web": 1662,
        "kept_synthetic": 1433,
        "dropped_web": 1422,
        "dropped_synthetic": 1651,
        "quarantined": 6,
    }
    path = folder / "funnel.json"
    path.write_text(json.dumps({k: v for k, v in (counts | changes).items() if v is not None}))
    return path


class ListReader:
    """Samples from a mapping of key to encoded image; None stands for one that can't be read."""

    quarantined: Sequence[Quarantined] = ()

    def __init__(self, images: dict[str, bytes | None]) -> None:
        self.images = images
        self.read: list[str] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> RawSample:
        key, image = list(self.images.items())[index]
        self.read.append(key)
        if image is None:
            raise DataError(f"{key} is damaged")
        return RawSample(key, image, ("text",), key)


class ReaderPlan:
    """A blueprint of a reader that exists already."""

    def __init__(self, reader: ListReader) -> None:
        self.reader = reader

    def build(self, **_: Any) -> ListReader:
        return self.reader
