"""Other thresholds for a finished pass: its texts are decided again by the scores in its ledger."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import Candidate, DataError, RawSample, Registry, StageError, nearest, stored_stage
from mmtk_capfilt.accounts import close_accounts
from mmtk_capfilt.decisions import DROPPED, KEPT, StepRules, decide
from mmtk_capfilt.ledger import IMAGE, LedgerRow, read_ledger, read_rules, schema, score_names, to_table
from mmtk_capfilt.output import shard_path, write_shard
from mmtk_capfilt.part_pass import ledger_key, settle_texts
from mmtk_capfilt.parts import Part
from mmtk_capfilt.rules import thresholds_of
from mmtk_capfilt.work import CapfiltWork, OpenWork

Images = Sequence[list[LedgerRow]]
_ROWS = 10_000  # that are in memory as objects at a time


class Pass(NamedTuple):
    """A finished pass: its ledger, the rules it was decided by, its work with its datasets open."""

    path: Path
    ledger: pa.Table
    rules: list[StepRules]
    opened: OpenWork


def read_pass(path: Path, registry: Registry) -> Pass:
    """Open a finished pass by its ledger.

    Raises:
        DataError: the file is no ledger, or a dataset that the pass read can't be opened.
        StageError: it doesn't lie in the folder of a finished pass.
    """
    ledger = read_ledger(path)
    stage = stored_stage(path.parent, registry)
    if stage.use.rpartition("/")[2] != "capfilt":
        raise StageError(
            f"{path}: written by a stage {stage.use}, not by a pass (capfilt); resift the ledger of each pass"
        )
    config = stage.blueprint.build().config
    try:
        opened = CapfiltWork(
            config, path.absolute().parent.name, path.parent, stage.seed, "cpu", registry
        ).open()
    except DataError as error:
        raise DataError(
            f"{path}: the data that the pass read can't be opened: {error}; paths that its recipe gives "
            "without a leading / count from the folder in which mmtk is called"
        ) from error
    return Pass(path, ledger, read_rules(ledger.schema, path), opened)


def chosen_score(finished: Pass, name: str | None) -> str:
    """The score ``name``, or the one that the pass has thresholds of.

    Raises DataError when the ledger lacks it, or the pass has thresholds of no score or of several.
    """
    ledger = finished.ledger
    scores = [one for one in score_names(ledger.schema) if ledger[one].null_count < len(ledger)]
    known = ", ".join(scores) or "none"
    if name is not None:
        if name in scores:
            return name
        near = nearest(name, scores)
        hint = f"did you mean '{near}'?" if near else f"there are: {known}"
        raise DataError(f"{finished.path} has no score '{name}'; {hint}")
    found = thresholds_of(finished.rules)
    if len(found) == 1:
        return found[0]
    has = f"thresholds of {' and '.join(found)}" if found else "no threshold"
    raise DataError(f"{finished.path}: the pass has {has}; name a score with --score: {known}")


def resift(
    finished: Pass, rules: Sequence[StepRules], folder: Path, advance: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Write the shards and accounts that the pass would have left with ``rules``; return its counts.

    Args:
        folder: appears when all is written; there must be nothing in its place but an empty folder.
        advance: called after each part.

    Raises:
        StageError: there is something in ``folder``, or the accounts don't balance.
        DataError: the ledger is not about the data that the pass's datasets have now.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StageError(f"{folder} is there already; name another folder with --out, or remove it")
    folder = folder.absolute()
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        (unfinished / "dataset").mkdir(parents=True)
        counts = _write(finished, rules, unfinished, advance)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return counts


def _write(
    finished: Pass, rules: Sequence[StepRules], folder: Path, advance: Callable[[], None]
) -> dict[str, int]:
    opened, images = finished.opened, _by_image(finished.ledger)
    count = _count_images(finished.ledger)
    readable = sum(len(part.images) for part in opened.parts)
    refused = list(itertools.islice(images, max(count - readable, 0)))
    if count < readable or any(rows[0].source != IMAGE for rows in refused):
        raise DataError(
            f"{finished.path} is about {count} images, and the datasets that the pass read have "
            f"{readable}: they have changed since"
        )
    columns = schema(score_names(finished.ledger.schema), rules)
    tables = [to_table([row for rows in refused for row in rows], columns)]
    written = 0
    for part in opened.parts:
        own = list(itertools.islice(images, len(part.images)))
        samples, rows = _redone(finished, part, own, rules)
        path = shard_path(folder / "dataset", opened.stage, part.number, opened.output)
        written += write_shard(path, samples, opened.output)
        tables.append(to_table(rows, columns))
        advance()
    whole = pa.concat_tables(tables)
    return close_accounts(folder, whole, written, count, weighted=bool(opened.weights))


def _redone(
    finished: Pass, part: Part, images: Images, rules: Sequence[StepRules]
) -> tuple[list[RawSample], list[LedgerRow]]:
    """Decide a part's texts again; of its images only those with a kept text are read."""
    samples: list[RawSample] = []
    rows: list[LedgerRow] = []
    for index, own in zip(part.images, images, strict=True):
        if own[0].source == IMAGE:
            rows += own
            continue
        candidates = [_candidate(row) for row in own]
        decisions = decide(candidates, rules)
        kept = any(decision.decision == KEPT for decision in decisions)
        image = _image(finished, part, index, own[0].key) if kept else RawSample(own[0].key, b"", (), "")
        fates = settle_texts(image, candidates, decisions, finished.opened.weights, part.dataset)
        for row, (decision, written) in zip(own, fates, strict=True):
            samples += written
            rows.append(dataclasses.replace(row, **decision._asdict()))
    return samples, rows


def _image(finished: Pass, part: Part, index: int, key: str) -> RawSample:
    sample = finished.opened.readers[part.dataset][index]
    found = ledger_key(sample.key, part.dataset)
    if found != key:
        raise DataError(
            f"{finished.path}: where the pass found the image {key!r} there is {found!r} now: "
            "its data has changed"
        )
    return dataclasses.replace(sample, key=key)


def _candidate(row: LedgerRow) -> Candidate:
    """A text as the rules met it. They had kept one that could not be written, and may drop it now."""
    barred = row.reason if row.final and row.decision == DROPPED else ""
    return Candidate(
        row.text, row.source, scores=row.scores, barred=barred, barred_by=row.step if barred else ""
    )


def _by_image(ledger: pa.Table) -> Iterator[list[LedgerRow]]:
    """The ledger's rows, image by image, in their order."""
    scores = score_names(ledger.schema)
    together: list[LedgerRow] = []
    for batch in ledger.to_batches(max_chunksize=_ROWS):
        for plain in batch.to_pylist():
            given = {name: value for name in scores if (value := plain.pop(name)) is not None}
            row = LedgerRow(**plain, scores=given)
            if together and (row.key != together[0].key or IMAGE in (row.source, together[0].source)):
                yield together
                together = []
            together.append(row)
    if together:
        yield together


def _count_images(ledger: pa.Table) -> int:
    """How many images ``_by_image`` gives: those of neighbours with one key are texts of one image."""
    if not len(ledger):
        return 0
    keys, failed = ledger["key"], pc.equal(ledger["source"], IMAGE)
    apart = pc.or_(pc.not_equal(keys[1:], keys[:-1]), pc.or_(failed[1:], failed[:-1]))
    return 1 + int(pc.sum(apart).as_py() or 0)
