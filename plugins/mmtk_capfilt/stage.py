"""The stage ``capfilt``: one pass over noisy pairs gives cleaner shards and a ledger (BLIP §3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import EstimateContext, StageContext, StageError, counted, gather_objects, rank, world_size
from mmtk_capfilt.accounts import check_any_usable, check_keys, close_accounts, summary
from mmtk_capfilt.configs import CapfiltConfig
from mmtk_capfilt.estimate import estimate_pass
from mmtk_capfilt.ledger import IMAGE, image_row, to_table
from mmtk_capfilt.part_pass import ledger_key
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
        self.config = CapfiltConfig(**fields)

    def check_ready(self, context: StageContext) -> None:
        """Build the steps, as ``run`` does first.

        Raises:
            StageError: steps don't fit each other, or one has no checkpoint.
            DataError: a dataset that a step adds can't be opened.
        """
        self._work(context).build_steps()

    def run(self, context: StageContext) -> None:
        """Do the parts that are still to be done, then put their ledgers together.

        Raises:
            StageError: a step fails, has no checkpoint or breaks its promise, a worker was killed, too many
                images fail.
            DataError: a dataset can't be opened.
        """
        work = self._work(context)
        opened = work.open()
        progress = None
        if rank() == 0:
            _clear_leftovers(context.folder)
            opened.survey(context.say)
            # For all: a slow rank would take parts for finished that others have finished meanwhile.
            progress = self._progress(opened)
        context.meet()
        todo, failed = gather_objects(progress)[0]
        watch = _Watch(self.config, len(opened.parts), len(opened.parts) - len(todo), failed, context.say)
        done = (
            self._by_ranks(opened, todo, context.meet) if world_size() > 1 else self._by_executor(work, todo)
        )
        for _number, result in done:
            watch.note(result)
        if rank() == 0:
            _clear_leftovers(context.folder)
            self._finish(opened, context)

    def estimate(self, context: EstimateContext) -> Iterator[str]:
        """Tell what the pass would take."""
        return estimate_pass(self.config, context)

    def _work(self, context: StageContext) -> CapfiltWork:
        return CapfiltWork(
            self.config, context.name, context.folder, context.seed, context.device, context.registry
        )

    def _progress(self, opened: OpenWork) -> tuple[list[int], int]:
        """The parts that are still to be done, and how many images of the others failed, if that matters."""
        todo = opened.finished.unfinished(opened.parts)
        if self.config.data.max_quarantined is None:
            return todo, 0
        left = set(todo)
        tables, _ = opened.finished.read([part for part in opened.parts if part.number not in left])
        return todo, sum(len(table.filter(pc.equal(table["source"], IMAGE))) for table in tables)

    def _by_executor(self, work: CapfiltWork, todo: Sequence[int]) -> Iterator[tuple[int, PartDone]]:
        if todo:
            yield from self.config.executor.build()(work, todo)

    def _by_ranks(
        self, opened: OpenWork, todo: Sequence[int], meet: Callable[[], None]
    ) -> Iterator[tuple[int, PartDone]]:
        """Share the parts among the ranks, one each at a time, so that each learns soon of another's end."""
        for start in range(0, len(todo), world_size()):
            own = todo[start + rank() : start + rank() + 1]
            done = [(number, opened(number)) for number in own]
            meet()
            yield from (each for of_rank in gather_objects(done) for each in of_rank)

    def _finish(self, opened: OpenWork, context: StageContext) -> None:
        (context.folder / "dataset").mkdir(exist_ok=True)
        refused = [
            replace(entry, key=ledger_key(entry.key, name))
            for name, reader in opened.readers.items()
            for entry in reader.quarantined
        ]
        tables, written = opened.finished.read(opened.parts)
        check_keys(opened.parts, tables)
        ledger = pa.concat_tables([to_table(map(image_row, refused), opened.columns), *tables])
        images = sum(len(part.images) for part in opened.parts) + len(refused)
        counts = close_accounts(context.folder, ledger, written, images, weighted=bool(opened.weights))
        check_any_usable(ledger, images)
        context.say(summary(counts))


class _Watch:
    """Tells the user how far the pass is, and ends it when too many images fail."""

    def __init__(
        self, config: CapfiltConfig, total: int, finished: int, failed: int, say: Callable[[str], None]
    ) -> None:
        self._limit = config.data.max_quarantined
        self._total = total
        self._finished = finished
        self._say = say
        self._images = self._failed = 0
        self._failed_before = failed
        self._started = self._spoken = time.monotonic()
        if finished:
            say(f"going on behind {finished} of {self._total} parts")
        self._check()

    def note(self, done: PartDone) -> None:
        """Take note of a part.

        Raises StageError when more images have failed than the recipe allows: a number of all that the stage
        has met, or a share of those that this run has.
        """
        self._finished += 1
        self._images += done.images
        self._failed += done.failed
        now = time.monotonic()
        if now - self._spoken >= _SECONDS_BETWEEN_LINES or self._finished == self._total:
            self._spoken = now
            rate = self._images / max(now - self._started, 1e-9)
            self._say(f"{self._finished} of {self._total} parts, {rate:,.1f} images a second")
        self._check()

    def _check(self) -> None:
        if self._limit is None:
            return
        if 0 < self._limit < 1:
            passed = self._images >= _FEW and self._failed > self._limit * self._images
            amount = f"{self._failed:,} of {counted(self._images, 'image')}"
        else:
            failed = self._failed_before + self._failed
            passed = failed > self._limit
            amount = counted(failed, "image")
        if passed:
            raise StageError(
                f"{amount} failed, and data.max_quarantined is {self._limit:g}; "
                "the ledgers in the stage's folder parts say why"
            )


def _clear_leftovers(folder: Path) -> None:
    """Remove what killed processes were about to write."""
    for pattern in (".*", "parts/.*", "dataset/.*", "surveys/.*"):
        for leftover in folder.glob(pattern):
            leftover.unlink(missing_ok=True)
