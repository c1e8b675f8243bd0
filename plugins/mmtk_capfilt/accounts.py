"""What a pass leaves beside its shards: the ledger, its counts and what failed, once they balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import Quarantine, Quarantined, StageError, counted
from mmtk_capfilt.decisions import DROPPED, FAILED, KEPT
from mmtk_capfilt.ledger import IMAGE, SOURCES, funnel
from mmtk_capfilt.parts import Part, write_json, write_table


def close_accounts(
    folder: Path, ledger: pa.Table, written: int, images: int, *, weighted: bool
) -> dict[str, int]:
    """Check a whole ledger and write it, its counts and its quarantine into ``folder``; return the counts.

    Args:
        written: samples in the shards.
        images: that came in, those that a reader refused among them.
        weighted: whether some texts are written more or less often than once.

    Raises StageError when the accounts don't balance.
    """
    counts = funnel(ledger) | {"written": written}
    check_accounts(counts, images, weighted=weighted)
    quarantine = Quarantine()
    for row in ledger.filter(pc.equal(ledger["source"], IMAGE)).to_pylist():
        quarantine.add(Quarantined(row["key"], row["reason"], row["shard"]))
    quarantine.write(folder / "quarantine.jsonl")
    write_json(counts, folder / "funnel.json")
    write_table(ledger, folder / "ledger.parquet")
    return counts


def summary(counts: Mapping[str, int]) -> str:
    """Say in a line what was kept and what failed."""
    return (
        f"kept {counts['kept_web']:,} web, {counts['kept_synthetic']:,} synthetic and "
        f"{counts['kept_human']:,} human texts of {counts['candidates']:,}; "
        f"{counts['failed_images']:,} of {counts['images']:,} images failed; "
        f"{counts['written']:,} samples written"
    )


def check_accounts(counts: Mapping[str, int], images: int, *, weighted: bool) -> None:
    """Raises StageError unless all that came in is kept, dropped or failed, and all kept is written."""
    kept = sum(counts[f"{KEPT}_{source}"] for source in SOURCES)
    fates = sum(counts[f"{fate}_{source}"] for fate in (KEPT, DROPPED, FAILED) for source in SOURCES)
    wrong = []
    if counts["images"] != images:
        wrong.append(f"{images} images came in, and the ledger has {counts['images']}")
    if counts["candidates"] != fates:
        wrong.append(f"the ledger has {counts['candidates']} texts, and the fates of {fates}")
    if not weighted and counts["written"] != kept:
        wrong.append(f"{kept} texts are kept, and {counts['written']} written")
    if wrong:
        raise StageError(f"samples were lost on the way: {'; '.join(wrong)}")


def check_keys(parts: Sequence[Part], tables: Sequence[pa.Table]) -> None:
    """Raises StageError when images of two parts of a dataset have one key."""
    for dataset in dict.fromkeys(part.dataset for part in parts):
        own = [
            pc.unique(table["key"])
            for part, table in zip(parts, tables, strict=True)
            if part.dataset == dataset
        ]
        counts = pc.value_counts(pa.chunked_array(own, pa.string()))
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            key = twice.field("values")[0].as_py()
            raise StageError(
                f"images in several parts have the same key, such as {key!r} ({counted(len(twice), 'key')}); "
                "each image needs a key of its own"
            )


def check_any_usable(ledger: pa.Table, images: int) -> None:
    """Raises StageError when all images failed: what comes out would be no dataset."""
    failed = ledger.filter(pc.equal(ledger["source"], IMAGE))
    if images and len(failed) == images:
        first = failed.slice(0, 1).to_pylist()[0]
        raise StageError(
            f"none of {images:,} images can be used; the first is {first['key']!r}: {first['reason']}"
        )
