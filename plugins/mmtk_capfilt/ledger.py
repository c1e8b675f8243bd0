"""The ledger: one row per candidate text, and one per image that could not be used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmtk.api import HUMAN, SYNTHETIC, WEB, AtLeast, Best, DataError, Quarantined, read_columns
from mmtk_capfilt.decisions import DROPPED, FAILED, KEPT, StepRules
from mmtk_capfilt.scores import ITC, ITM

IMAGE = "image"  # the source of a row about an image that could not be used
SOURCES = (WEB, SYNTHETIC, HUMAN)

_TEXTS = ("shard", "key", "image_id", "source", "text", "written_by", "scored_by")
_FATE = (("decision", pa.string()), ("step", pa.string()), ("reason", pa.string()), ("final", pa.bool_()))
FIXED_COLUMNS = frozenset([*_TEXTS, *(name for name, _ in _FATE)])
_RULES = b"mmtk.rules"
_RULE_TYPES: Mapping[str, type[AtLeast | Best]] = {"at_least": AtLeast, "best": Best}


@dataclass(frozen=True)
class LedgerRow:
    """One row of the ledger.

    Attributes:
        shard: the file the image was read from.
        key: the image's key in its reader.
        image_id: pairs with one ``image_id`` show one image; empty where the image could not be read.
        source: ``web``, ``synthetic`` or ``human`` for a text, ``image`` for an image that could not be used.
        text: the text as it was found or written, before cleaning.
        written_by: the model that wrote it; empty for a text that was found.
        scored_by: the models that scored it, ``STEP:FINGERPRINT``, with commas between.
        decision: ``kept``, ``dropped`` or, for an image or a text that could not be written, ``failed``.
        step: the step that dropped it; empty if kept.
        reason: why; empty if kept.
        final: whether no other threshold can bring it back.
        scores: by name, each a column of float32; a text that was not scored has none.
    """

    shard: str
    key: str
    image_id: str
    source: str
    text: str
    written_by: str = ""
    scored_by: str = ""
    decision: str = KEPT
    step: str = ""
    reason: str = ""
    final: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)


def image_row(entry: Quarantined) -> LedgerRow:
    """The row of an image that could not be used."""
    return LedgerRow(
        entry.location, entry.key, "", IMAGE, "", decision=FAILED, reason=entry.reason, final=True
    )


def schema(scores: Iterable[str], rules: Sequence[StepRules]) -> pa.Schema:
    """A ledger's columns, fixed ones and further scores; its metadata holds the rules it was decided by."""
    further = [name for name in dict.fromkeys(scores) if name not in (ITM, ITC)]
    columns = [(name, pa.string()) for name in _TEXTS]
    columns += [(name, pa.float32()) for name in (ITM, ITC, *further)]
    return pa.schema([*columns, *_FATE]).with_metadata({_RULES: json.dumps(_plain(rules)).encode()})


def to_table(rows: Iterable[LedgerRow], columns: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([{**asdict(row), **row.scores} for row in rows], schema=columns)


def read_ledger(path: Path) -> pa.Table:
    """Read a ledger. Raises DataError when the file is none: a column is missing, or of another type."""
    wanted = schema((), ())
    table = read_columns(path, wanted.names)
    try:
        table.cast(wanted)
        whole: pa.Table = pq.read_table(path)
        return whole
    except pa.ArrowException as error:
        raise DataError(f"{path} is no ledger: {error}") from error


def score_names(columns: pa.Schema) -> list[str]:
    """The ledger's scores, in the order of its columns."""
    fate = {name for name, _ in _FATE}
    return [name for name in columns.names if name not in fate and name not in _TEXTS]


def read_rules(columns: pa.Schema, path: Path) -> list[StepRules]:
    """The rules a ledger was decided by. Raises DataError when it doesn't hold them."""
    try:
        plain = json.loads((columns.metadata or {})[_RULES])
        return [
            StepRules(one["step"], tuple(_RULE_TYPES[kind](**rule) for kind, rule in one["rules"]))
            for one in plain
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} doesn't hold the rules it was decided by: it is joined or damaged"
        ) from error


def _plain(rules: Sequence[StepRules]) -> list[dict[str, Any]]:
    names = {rule_type: name for name, rule_type in _RULE_TYPES.items()}
    return [
        {"step": one.step, "rules": [[names[type(rule)], asdict(rule)] for rule in one.rules]}
        for one in rules
    ]


def funnel(ledger: pa.Table) -> dict[str, int]:
    """Count a ledger: images in, what became of them, candidate texts and what became of those.

    ``images = (images with a candidate) + (images without a text) + failed images`` and, of each source,
    ``candidates = kept + dropped + failed``.
    """
    counts = dict.fromkeys(
        ("images", *(f"{fate}_{source}" for source in SOURCES for fate in (KEPT, DROPPED, FAILED))), 0
    )
    by_fate = ledger.group_by(["source", "decision"]).aggregate([([], "count_all")]).to_pylist()
    for group in by_fate:
        if group["source"] != IMAGE:
            counts[f"{group['decision']}_{group['source']}"] = group["count_all"]
    failed = sum(group["count_all"] for group in by_fate if group["source"] == IMAGE)
    texts = ledger.filter(pc.not_equal(ledger["source"], IMAGE))
    counts["failed_images"] = failed
    # A web image may have the key that a human one has got by the name of its dataset.
    counts["images"] = len(texts.group_by(["shard", "key"]).aggregate([])) + failed
    counts["candidates"] = len(texts)
    counts["captioned"] = len(pc.unique(texts.filter(pc.equal(texts["source"], SYNTHETIC))["key"]))
    return counts
