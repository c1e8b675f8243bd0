"""What the explorer's script knows of a ledger: columns of plain values, as short as they can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import readable
from mmtk_capfilt.ledger import ITC, ITM, WEB, score_names
from mmtk_capfilt.report.explorer_truth import Label
from mmtk_capfilt.report.scores import SOURCES, threshold_of

BINS = 20
_LONGEST_TEXT = 2000
_LONGEST_KEY = 300
_CODED = ("source", "decision", "step", "reason", "written_by", "scored_by")
_LABELS = {ITM: "ITM probability", ITC: "ITC similarity"}


def choose_images(ledger: pa.Table, limit: int) -> list[str]:
    """Return up to ``limit`` keys in the ledger's order, spread evenly over it."""
    keys: list[str] = pc.unique(ledger["key"]).to_pylist()
    number = min(limit, len(keys))
    return [keys[place * len(keys) // number] for place in range(number)]


def rows_of(ledger: pa.Table, keys: list[str]) -> pa.Table:
    """The rows of some images, with a column ``image``: the place of a row's key in ``keys``."""
    place = pc.index_in(ledger["key"], pa.array(keys, pa.string()))
    return ledger.append_column("image", place).filter(pc.is_valid(place))


def images_data(rows: pa.Table, keys: list[str], labels: Mapping[str, Label]) -> dict[str, Any]:
    """Key, shard and, where it is known, true label of each image."""
    shards = dict(zip(rows["key"].to_pylist(), rows["shard"].to_pylist(), strict=True))
    names = [PurePath((shards[key] or "").replace("\\", "/")).name for key in keys]
    return {
        "key": [readable(key, _LONGEST_KEY) for key in keys],
        "shard": _coded(pa.chunked_array([pa.array(names, pa.string())])),
        "label": [readable(labels[key].label, _LONGEST_TEXT) if key in labels else "" for key in keys],
    }


def texts_data(rows: pa.Table, labels: Mapping[str, Label]) -> dict[str, Any]:
    """The rows, column by column. A coded column has its different values and, of each row, their places.

    ``noise`` is the kind of noise of a web text, empty where nothing is known of it.
    """
    noise = [
        labels[key].noise if source == WEB and key in labels else ""
        for key, source in zip(rows["key"].to_pylist(), rows["source"].to_pylist(), strict=True)
    ]
    return {
        "image": rows["image"].to_pylist(),
        "text": [readable(text or "", _LONGEST_TEXT) for text in rows["text"].to_pylist()],
        **{name: _coded(rows[name]) for name in _CODED},
        "noise": _coded(pa.chunked_array([pa.array(noise, pa.string())])),
        "final": [int(bool(value)) for value in rows["final"].to_pylist()],
    }


def scores_data(rows: pa.Table) -> list[dict[str, Any]]:
    """The scores that any row has: values to six digits, None where there is none; a histogram's axis."""
    found = []
    for name in score_names(rows.schema.remove(rows.schema.get_field_index("image"))):
        values = [_short(value) for value in rows[name].to_pylist()]
        present = [value for value in values if value is not None]
        if not present:
            continue
        thresholds = {source: threshold_of(rows, source, name) for source in SOURCES}
        found.append(
            {
                "name": name,
                "label": readable(_LABELS.get(name, name), 80),
                "edges": score_edges(min(present), max(present), probability=name == ITM),
                "thresholds": {source: value for source, value in thresholds.items() if value is not None},
                "values": values,
            }
        )
    return found


def score_edges(low: float, high: float, *, probability: bool) -> list[float]:
    """Return the edges of about twenty equal bins that cover ``low`` to ``high``, at round numbers."""
    if probability:
        low, high = 0.0, 1.0
    size = max(abs(low), abs(high))
    if high - low < max(1e-3 * size, 1e-12):  # as good as one value: no edges lie between at six digits
        margin = size / 2 if size > 1e-12 else 0.5
        low, high = low - margin, high + margin
    raw = (high - low) / BINS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.6g}") for place in range(first, max(last, first + 1) + 1)]


def _coded(column: pa.ChunkedArray) -> dict[str, Any]:
    filled = pc.fill_null(column, "").combine_chunks().dictionary_encode()
    if isinstance(filled, pa.ChunkedArray):
        filled = filled.combine_chunks()
    names = [readable(name, _LONGEST_KEY) for name in filled.dictionary.to_pylist()]
    return {"names": names, "codes": np.asarray(filled.indices).tolist()}


def _short(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
