"""The section ``capfilt_gallery``: pictures with web text and synthetic text, kept or struck out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import Blueprint, Reader, count, render, stable_hash
from mmtk_capfilt.decisions import KEPT
from mmtk_capfilt.ledger import IMAGE, SYNTHETIC, WEB, read_ledger
from mmtk_capfilt.report.pictures import data_uri, find_pictures
from mmtk_capfilt.report.selection import BOTH_DROPPED, BOTH_KEPT, FAILED, RESCUED, WEB_KEPT, choose

LABELS = {
    RESCUED: "Rescued by a new caption",
    BOTH_KEPT: "Both texts kept",
    WEB_KEPT: "Only the web text kept",
    BOTH_DROPPED: "All texts dropped",
    FAILED: "Unreadable",
}
_ORDER = {WEB: 0, SYNTHETIC: 1, IMAGE: 2}


@dataclass(frozen=True)
class CardText:
    """A text below a picture. ``score`` is its ITM probability, None where it has none."""

    source: str
    text: str
    score: float | None
    kept: bool
    reason: str


@dataclass(frozen=True)
class Card:
    """A picture with its texts. ``picture`` is a data URI, None where the image can't be shown."""

    key: str
    outcome: str
    picture: str | None
    texts: list[CardText]
    failure: str = ""


@dataclass(frozen=True)
class _Group:
    outcome: str
    label: str
    shown: int
    total: int


class GallerySection:
    """Cards that can be narrowed down by outcome, without any script."""

    def __init__(self, *, ledger: Path, images: Sequence[Blueprint[Reader]], count: int, title: str) -> None:
        self.title = title
        self._ledger = read_ledger(ledger)
        self._readers = [blueprint.build() for blueprint in images]
        self._count = count

    def css(self) -> str:
        return render("mmtk_capfilt.report", "gallery.css", outcomes=list(LABELS))

    def html(self) -> str:
        chosen = choose(self._ledger, self._count)
        outcomes = {key: group.outcome for group in chosen for key in group.keys}
        cards = self._cards(outcomes)
        return render(
            "mmtk_capfilt.report",
            "gallery.html",
            cards=cards,
            groups=[_Group(c.outcome, LABELS[c.outcome], len(c.keys), c.total) for c in chosen if c.total],
            total=count(sum(c.total for c in chosen)),
            name=f"gallery-{stable_hash(self.title, list(outcomes)):016x}",
        )

    def _cards(self, outcomes: dict[str, str]) -> list[Card]:
        rows = _rows_by_key(self._ledger, list(outcomes))
        readable = [key for key, outcome in outcomes.items() if outcome != FAILED]
        images = find_pictures(self._readers, readable)
        return [_card(key, outcome, rows[key], images.get(key)) for key, outcome in outcomes.items()]


def _card(key: str, outcome: str, rows: list[dict[str, Any]], image: bytes | None) -> Card:
    texts = [
        CardText(row["source"], row["text"], row["itm_probability"], row["decision"] == KEPT, row["reason"])
        for row in sorted(rows, key=lambda row: _ORDER.get(row["source"], 3))
        if row["source"] != IMAGE
    ]
    failure = ""
    if outcome == FAILED:  # elsewhere such a row is about another sample of the same key
        failure = next(row["reason"] for row in rows if row["source"] == IMAGE)
    return Card(key, outcome, data_uri(image) if image is not None else None, texts, failure)


def _rows_by_key(ledger: pa.Table, keys: list[str]) -> dict[str, list[dict[str, Any]]]:
    rows = ledger.filter(pc.is_in(ledger["key"], pa.array(keys, pa.string())))
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.to_pylist():
        grouped[row["key"]].append(row)
    return grouped
