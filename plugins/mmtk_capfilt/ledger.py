"""The ledger: one row per candidate text, and one per image that could not be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import DataError, Quarantined
from mmtk.data.tables import read_columns

WEB = "web"
SYNTHETIC = "synthetic"
IMAGE = "image"

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("text", pa.string()),
        ("itm_probability", pa.float32()),
        ("itc_similarity", pa.float32()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class LedgerRow:
    """One row of the ledger.

    Attributes:
        key: the image's key in its reader.
        image_id: pairs with one ``image_id`` show one image; empty where the image could not be read.
        source: ``web`` or ``synthetic`` for a text, ``image`` for an image that could not be used.
        text: the text as it was found or written, before cleaning.
        itm_probability: probability that image and text match; None where the text could not be scored.
        itc_similarity: cosine of their features; None likewise.
        kept: whether the text goes into the bootstrapped dataset.
        reason: why not; empty if kept.
    """

    key: str
    image_id: str
    source: str
    text: str
    itm_probability: float | None
    itc_similarity: float | None
    kept: bool
    reason: str


def image_row(entry: Quarantined) -> LedgerRow:
    """The row of an image that could not be used."""
    return LedgerRow(entry.key, "", IMAGE, "", None, None, False, entry.reason)


def to_table(rows: Iterable[LedgerRow]) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)


def read_ledger(path: Path) -> pa.Table:
    """Read a ledger's columns. Raises DataError when the file has not got them, or in other types."""
    table = read_columns(path, SCHEMA.names)
    try:
        return table.cast(SCHEMA)
    except pa.ArrowException as error:
        raise DataError(f"{path} is no ledger: {error}") from error


def funnel(ledger: pa.Table) -> dict[str, int]:
    """Count a ledger: images in, what became of them, candidate texts and what became of those.

    ``images = (images with a candidate) + quarantined`` and ``candidates = kept + dropped``, by source.
    """
    texts = {source: ledger.filter(pc.equal(ledger["source"], source)) for source in (WEB, SYNTHETIC)}
    kept = {source: pc.sum(rows["kept"]).as_py() or 0 for source, rows in texts.items()}
    quarantined = pc.sum(pc.equal(ledger["source"], IMAGE)).as_py() or 0
    usable = pc.unique(ledger.filter(pc.not_equal(ledger["source"], IMAGE))["key"])
    return {
        "images": len(usable) + quarantined,
        "captioned": len(texts[SYNTHETIC]),
        "candidates": len(texts[WEB]) + len(texts[SYNTHETIC]),
        "kept_web": kept[WEB],
        "kept_synthetic": kept[SYNTHETIC],
        "dropped_web": len(texts[WEB]) - kept[WEB],
        "dropped_synthetic": len(texts[SYNTHETIC]) - kept[SYNTHETIC],
        "quarantined": quarantined,
    }
