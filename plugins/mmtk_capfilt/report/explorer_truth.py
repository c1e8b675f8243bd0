"""How well drops agree with what is known of the web texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import DataError, read_columns
from mmtk_capfilt.decisions import DROPPED
from mmtk_capfilt.ledger import WEB

RIGHT = "right"
UNNAMED = "unnamed"
_COLUMNS = ("key", "clean", "noise_kind", "label")


class Label(NamedTuple):
    """What is known of an image: the kind of noise of its web text, ``right`` without any; its right text."""

    noise: str
    label: str


@dataclass(frozen=True)
class Agreement:
    """Drops among web texts of one kind.

    Attributes:
        noise: the kind: ``right``, a kind of noise, or empty for all wrong texts.
        texts: how many web texts there are of it.
        dropped: how many of them were dropped.
        precision: share of wrong ones among the dropped, as if this kind of noise were the only one; None
            where nothing was dropped, and for right texts.
    """

    noise: str
    texts: int
    dropped: int
    precision: float | None

    @property
    def recall(self) -> float | None:
        return self.dropped / self.texts if self.texts else None


def read_labels(path: Path, ledger: pa.Table) -> dict[str, Label]:
    """Return what a file knows, by key.

    Raises DataError when it lacks a column, or knows none of the ledger's images with web texts.
    """
    rows = read_columns(path, _COLUMNS).to_pylist()
    labels = {
        row["key"]: Label(_kind(row["clean"], row["noise_kind"]), str(row["label"] or "")) for row in rows
    }
    keys = [key for key, _ in _web_texts(ledger)]
    if keys and not labels.keys() & set(keys):
        raise DataError(f"{path} knows none of the ledger's images, such as {keys[0]!r}")
    return labels


def agreement(ledger: pa.Table, labels: Mapping[str, Label]) -> list[Agreement]:
    """Count drops by kind of noise, the most frequent first; then all wrong texts, then right ones."""
    fates: dict[str, list[bool]] = {}
    for key, decision in _web_texts(ledger):
        if key in labels:
            fates.setdefault(labels[key].noise, []).append(decision == DROPPED)
    right = fates.pop(RIGHT, [])
    kinds = sorted(fates.items(), key=lambda item: (-len(item[1]), item[0]))
    wrong = [fate for _, of_kind in kinds for fate in of_kind]
    return [
        *(_agreement(kind, of_kind, right) for kind, of_kind in kinds),
        _agreement("", wrong, right),
        Agreement(RIGHT, len(right), sum(right), None),
    ]


def _agreement(noise: str, wrong: Sequence[bool], right: Sequence[bool]) -> Agreement:
    dropped = sum(wrong) + sum(right)
    return Agreement(noise, len(wrong), sum(wrong), sum(wrong) / dropped if dropped else None)


def _web_texts(ledger: pa.Table) -> list[tuple[str, str]]:
    """Keys and decisions of the web texts."""
    texts = ledger.filter(pc.equal(ledger["source"], WEB))
    return list(zip(texts["key"].to_pylist(), texts["decision"].to_pylist(), strict=True))


def _kind(clean: bool | None, noise: str | None) -> str:
    return RIGHT if clean else str(noise or UNNAMED)
