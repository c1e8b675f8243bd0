"""Which pictures the gallery shows: a fixed choice that depends on the ledger alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mmtk_capfilt.decisions import KEPT
from mmtk_capfilt.ledger import HUMAN, IMAGE, SYNTHETIC, WEB

RESCUED = "rescued"
BOTH_KEPT = "both-kept"
WEB_KEPT = "web-kept"
BOTH_DROPPED = "both-dropped"
FAILED = "failed"

# Share of the gallery that each outcome gets as long as it has enough pictures, in the order shown.
_SHARES = {RESCUED: 0.5, BOTH_KEPT: 0.18, WEB_KEPT: 0.12, BOTH_DROPPED: 0.12, FAILED: 0.08}


@dataclass(frozen=True)
class Chosen:
    """The pictures of one outcome: how many there are, and the keys of those that are shown."""

    outcome: str
    total: int
    keys: list[str]


def choose(ledger: pa.Table, number: int) -> list[Chosen]:
    """Choose up to ``number`` pictures, each outcome with its share.

    A picture is *rescued* when all its web texts were dropped and a synthetic text was kept. Rescued pictures
    come with the widest gap between the two ITM probabilities first; those of the other outcomes are spread
    evenly over the sorted keys. Pictures with human texts are left out: those are not judged.
    """
    human = pc.unique(ledger.filter(pc.equal(ledger["source"], HUMAN))["key"])
    pictures = _outcomes(ledger.filter(pc.invert(pc.is_in(ledger["key"], human))))
    groups = {outcome: pictures.filter(pc.equal(pictures["outcome"], outcome)) for outcome in _SHARES}
    quotas = _quotas({outcome: len(group) for outcome, group in groups.items()}, number)
    chosen = []
    for outcome, group in groups.items():
        if outcome == RESCUED:
            order: Sequence[tuple[str, str]] = [("gap", "descending"), ("key", "ascending")]
            picked = group.sort_by(order).slice(0, quotas[outcome])
        else:
            step = len(group) / max(1, quotas[outcome])
            indices = [int(place * step) for place in range(quotas[outcome])]
            picked = group.sort_by("key").take(pa.array(indices, pa.int64()))
        chosen.append(Chosen(outcome, len(group), picked["key"].to_pylist()))
    return chosen


def _outcomes(ledger: pa.Table) -> pa.Table:
    """One row per key: its outcome, and by how much the synthetic text beats the web text."""
    web, synthetic = (_by_key(ledger, source) for source in (WEB, SYNTHETIC))
    joined = web.join(synthetic, "key", join_type="full outer", left_suffix="_web", right_suffix="_synthetic")
    web_kept = pc.fill_null(joined["kept_web"], False)
    synthetic_kept = pc.fill_null(joined["kept_synthetic"], False)
    outcome = pc.case_when(
        pc.make_struct(
            pc.and_(web_kept, synthetic_kept),
            synthetic_kept,
            web_kept,
            field_names=["both", "synthetic", "web"],
        ),
        BOTH_KEPT,
        RESCUED,
        WEB_KEPT,
        BOTH_DROPPED,
    )
    scores = [pc.fill_null(joined[f"score_{source}"], 0.0) for source in ("synthetic", "web")]
    texts = pa.table({"key": joined["key"], "outcome": outcome, "gap": pc.subtract(*scores)})
    failed = pc.unique(ledger.filter(pc.equal(ledger["source"], IMAGE))["key"])
    failed = failed.filter(pc.invert(pc.is_in(failed, texts["key"])))
    rows = {
        "key": failed,
        "outcome": pa.repeat(FAILED, len(failed)),
        "gap": pa.repeat(pa.scalar(0.0, texts.schema.field("gap").type), len(failed)),
    }
    return pa.concat_tables([texts, pa.table(rows)])


def _by_key(ledger: pa.Table, source: str) -> pa.Table:
    rows = ledger.append_column("kept", pc.equal(ledger["decision"], KEPT))
    rows = rows.filter(pc.equal(rows["source"], source))
    grouped = rows.group_by("key").aggregate([("kept", "any"), ("itm_probability", "max")])
    return grouped.select(["key", "kept_any", "itm_probability_max"]).rename_columns(["key", "kept", "score"])


def _quotas(totals: Mapping[str, int], number: int) -> dict[str, int]:
    quotas = {outcome: min(totals[outcome], round(number * part)) for outcome, part in _SHARES.items()}
    for outcome in _SHARES:  # what rounding or a rare outcome left over goes to the next that has more
        spare = number - sum(quotas.values())
        quotas[outcome] = min(totals[outcome], max(0, quotas[outcome] + spare))
    return quotas
