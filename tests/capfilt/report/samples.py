"""Small ledgers, pictures and readers."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from mmtk_capfilt.decisions import DROPPED, StepRules
from mmtk_capfilt.ledger import ITC, ITM, LedgerRow, image_row, schema, to_table
from mmtk_capfilt.report.funnel import COUNTS
from PIL import Image

from mmtk.api import AtLeast, DataError, Quarantined, RawSample

THRESHOLD = 0.5
TRUTH = pa.schema(
    [("key", pa.string()), ("clean", pa.bool_()), ("noise_kind", pa.string()), ("label", pa.string())]
)


def picture(color: str = "red", size: tuple[int, int] = (32, 32), format_: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format_)
    return buffer.getvalue()


def text_row(key: str, source: str, text: str, probability: float | None, reason: str = "") -> LedgerRow:
    """A row as the filter writes it: without a reason of its own, the threshold decides."""
    if not reason and probability is not None and probability < THRESHOLD:
        reason = f"itm_probability below {THRESHOLD:g}"
    scores = {} if probability is None else {ITM: probability, ITC: probability / 2}
    if not reason:
        return LedgerRow(f"{key}.tar", key, key, source, text, scores=scores)
    step, final = ("itm_filter", False) if " below " in reason else ("read", True)
    return LedgerRow(
        f"{key}.tar",
        key,
        key,
        source,
        text,
        decision=DROPPED,
        step=step,
        reason=reason,
        final=final,
        scores=scores,
    )


def pair(key: str, web: float, synthetic: float) -> list[LedgerRow]:
    return [
        text_row(key, "web", f"web text of {key}", web),
        text_row(key, "synthetic", f"synthetic text of {key}", synthetic),
    ]


def write_truth(folder: Path, noise: dict[str, str | None]) -> Path:
    """A file of known labels: noise by key, None for a right text."""
    rows = [
        {"key": key, "clean": kind is None, "noise_kind": kind, "label": f"right text of {key}"}
        for key, kind in noise.items()
    ]
    path = folder / "truth.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH), path)
    return path


def failed_row(key: str, reason: str = "unreadable image: 12 bytes") -> LedgerRow:
    return image_row(Quarantined(key, reason, f"{key}.tar"))


def ledger_table(rows: Sequence[LedgerRow], *further: str) -> pa.Table:
    """A ledger of one step whose threshold is 0.5; ``further`` are names of scores."""
    rules = [StepRules("itm_filter", (AtLeast(ITM, THRESHOLD),))]
    return to_table(rows, schema((ITM, ITC, *further), rules))


def write_ledger(folder: Path, rows: Sequence[LedgerRow]) -> Path:
    path = folder / "ledger.parquet"
    pq.write_table(ledger_table(rows), path)
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
        "failed_images": 6,
        "written": 3095,
    }
    none = dict.fromkeys(COUNTS, 0)
    path = folder / "funnel.json"
    path.write_text(json.dumps({k: v for k, v in (none | counts | changes).items() if v is not None}))
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
