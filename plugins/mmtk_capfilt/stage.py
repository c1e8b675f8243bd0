"""The stage ``capfilt``: one pass over noisy pairs gives cleaner shards and a ledger (BLIP §3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import StageContext, StageError
from mmtk.data.quarantine import Quarantine
from mmtk.distributed.collectives import gather_objects, rank, world_size
from mmtk.types import Quarantined
from mmtk_capfilt.configs import CapfiltConfig
from mmtk_capfilt.decisions import KEPT
from mmtk_capfilt.ledger import IMAGE, SOURCES, funnel, image_row, to_table
from mmtk_capfilt.parts import write_json, write_table
from mmtk_capfilt.work import CapfiltWork, OpenWork, PartDone

_SECONDS_BETWEEN_LINES = 10.0
_FEW = 100  # a share of fewer images than these says nothing


class CapfiltStage:
    """Cleans the texts of a dataset in one pass, part by part.

    Takes the fields of ``CapfiltConfig``. Writes ``dataset`` (one shard for each part with kept texts),
    ``ledger.parquet`` (see ``LedgerRow``), ``funnel.json`` (its counts, and ``written``, the samples in
    ``dataset``) and ``quarantine.jsonl`` (the images that failed). An interrupted pass goes on behind its
    finished parts. What it writes depends on the recipe alone, not on who worked on which part.
    """

    every_rank = True

    def __init__(self, **fields: Any) -> None:
        self._config = CapfiltConfig(**fields)

    def run(self, context: StageContext) -> None:
        """Do the parts that are still to be done, then put their ledgers together.

        Raises:
            StageError: a step breaks its promise, a worker was killed, too many images fail.
            CheckpointError: a step's model can't be used.
            DataError: a dataset can't be opened.
        """
        work = CapfiltWork(self._config, context.folder, context.seed, context.device, context.registry)
        opened = work.open()
        if rank() == 0:
            _clear_leftovers(context.folder)
            opened.survey()
        gather_objects(None)  # all ranks see the surveys, and which parts are finished
        todo = opened.finished.unfinished(opened.parts)
        watch = _Watch(self._config, opened, len(opened.parts) - len(todo), context.say)
        done = self._by_ranks(opened, todo) if world_size() > 1 else self._by_executor(work, todo)
        for number, result in done:
            watch.note(number, result)
        if rank() == 0:
            _clear_leftovers(context.folder)
            self._finish(opened, context)

    def _by_executor(self, work: CapfiltWork, todo: Sequence[int]) -> Iterator[tuple[int, PartDone]]:
        if todo:
            yield from self._config.executor.build()(work, todo)

    def _by_ranks(self, opened: OpenWork, todo: Sequence[int]) -> Iterator[tuple[int, PartDone]]:
        """Share the parts among the ranks, one each at a time, so that each learns soon of another's end."""
        for start in range(0, len(todo), world_size()):
            own = todo[start + rank() : start + rank() + 1]
            results = gather_objects([(number, opened(number)) for number in own])
            yield from (each for of_rank in results for each in of_rank)

    def _finish(self, opened: OpenWork, context: StageContext) -> None:
        folder = context.folder
        dataset = folder / "dataset"
        dataset.mkdir(exist_ok=True)
        refused = [entry for reader in opened.readers.values() for entry in reader.quarantined]
        tables, written = opened.finished.read(opened.parts)
        ledger = pa.concat_tables([to_table(map(image_row, refused), opened.columns), *tables])
        counts = funnel(ledger) | {"written": written}
        images = sum(len(part.images) for part in opened.parts) + len(refused)
        check_accounts(counts, images, weighted=bool(opened.weights))
        quarantine = Quarantine()
        for row in ledger.filter(pc.equal(ledger["source"], IMAGE)).to_pylist():
            quarantine.add(Quarantined(row["key"], row["reason"], row["shard"]))
        quarantine.write(folder / "quarantine.jsonl")
        write_json(counts, folder / "funnel.json")
        write_table(ledger, folder / "ledger.parquet")
        context.say(
            f"kept {counts['kept_web']:,} web, {counts['kept_synthetic']:,} synthetic and "
            f"{counts['kept_human']:,} human texts of {counts['candidates']:,}; "
            f"{counts['failed_images']:,} of {counts['images']:,} images failed; "
            f"{counts['written']:,} samples written"
        )


class _Watch:
    """Tells the user how far the pass is, and ends it when too many images fail."""

    def __init__(
        self, config: CapfiltConfig, opened: OpenWork, finished: int, say: Callable[[str], None]
    ) -> None:
        self._limit = config.data.max_quarantined
        self._total = len(opened.parts)
        self._finished = finished
        self._say = say
        self._images = self._failed = 0
        self._started = self._spoken = time.monotonic()
        if finished:
            say(f"going on behind {finished} of {self._total} parts")

    def note(self, number: int, done: PartDone) -> None:
        """Take note of a part. Raises StageError when more images have failed than the recipe allows."""
        self._finished += 1
        self._images += done.images
        self._failed += done.failed
        now = time.monotonic()
        if now - self._spoken >= _SECONDS_BETWEEN_LINES or self._finished == self._total:
            self._spoken = now
            rate = self._images / max(now - self._started, 1e-9)
            self._say(f"{self._finished} of {self._total} parts, {rate:,.1f} images a second")
        if self._limit is None:
            return
        share = 0 < self._limit < 1
        if self._failed > self._limit * (self._images if share else 1) and not (
            share and self._images < _FEW
        ):
            raise StageError(
                f"{self._failed:,} of {self._images:,} images failed, and data.max_quarantined is "
                f"{self._limit:g}; the ledger of part {number} has the latest reasons"
            )


def check_accounts(counts: dict[str, int], images: int, *, weighted: bool) -> None:
    """Raises StageError unless all that came in is kept, dropped or failed, and all kept is written."""
    kept = sum(counts[f"{KEPT}_{source}"] for source in SOURCES)
    fates = sum(counts[f"{fate}_{source}"] for fate in (KEPT, "dropped", "failed") for source in SOURCES)
    wrong = []
    if counts["images"] != images:
        wrong.append(f"{images} images came in, and the ledger has {counts['images']}")
    if counts["candidates"] != fates:
        wrong.append(f"the ledger has {counts['candidates']} texts, and the fates of {fates}")
    if not weighted and counts["written"] != kept:
        wrong.append(f"{kept} texts are kept, and {counts['written']} written")
    if wrong:
        raise StageError(f"samples were lost on the way: {'; '.join(wrong)}")


def _clear_leftovers(folder: Path) -> None:
    """Remove what killed processes were about to write."""
    for pattern in (".*", "parts/.*", "dataset/.*", "surveys/.*"):
        for leftover in folder.glob(pattern):
            leftover.unlink(missing_ok=True)
