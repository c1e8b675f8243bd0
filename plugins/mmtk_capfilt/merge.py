"""The bootstrapped dataset: kept web texts, kept synthetic texts and human pairs (BLIP §3.3)."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from mmtk.api import Blueprint, DataError, Quarantined, RawSample, Reader, StageContext, StageError
from mmtk.data.quarantine import Quarantine
from mmtk.data.shards import ShardWriter
from mmtk.errors import SampleError
from mmtk_capfilt.ledger import SYNTHETIC, WEB, funnel, read_ledger
from mmtk_capfilt.parts import write_json

KEY_ENDINGS = {WEB: "web", SYNTHETIC: "syn"}


class MergeStage:
    """Writes one sample per kept text of the ledger, and the human pairs unfiltered, as WebDataset shards.

    A kept text of the image ``KEY`` has the key ``KEY-web`` or ``KEY-syn`` (``KEY-web-2`` for a second kept
    web text) and the image's ``image_id``; a sample of the human dataset ``NAME`` has the key ``KEY-NAME``.
    ``funnel.json`` has the counts of the ledger, and ``human`` (samples in), ``written`` (samples out) and
    ``unusable`` (human samples and kept texts that could not be read or written; ``quarantine.jsonl`` says
    why).
    """

    def __init__(
        self,
        *,
        ledger: Path,
        reader: Blueprint[Reader],
        human: Mapping[str, Blueprint[Reader]],
        samples_per_shard: int,
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._human = human
        self._samples_per_shard = samples_per_shard

    def run(self, context: StageContext) -> None:
        """Raises StageError when ledger and reader are of different data, or samples are lost on the way."""
        ledger = read_ledger(self._ledger)
        counts = funnel(ledger)
        reader = self._reader.build()
        images = len(reader) + len(reader.quarantined)
        if images != counts["images"]:
            raise StageError(
                f"{self._ledger} is about {counts['images']} images, but the reader has {images}: "
                "it must read what the filter read"
            )
        quarantine = Quarantine()
        counts |= {"human": 0, "unusable": 0}
        with ShardWriter(context.folder / "dataset", "bootstrapped", self._samples_per_shard) as shards:
            for sample in kept_samples(ledger, reader):
                counts["unusable"] += not written(shards, sample, quarantine)
            for name, blueprint in self._human.items():
                for outcome in human_samples(name, blueprint.build()):
                    counts["human"] += 1
                    counts["unusable"] += not written(shards, outcome, quarantine)
        counts["written"] = shards.samples
        check_accounts(counts)
        quarantine.write(context.folder / "quarantine.jsonl")
        write_json(counts, context.folder / "funnel.json")
        context.say(
            f"{counts['written']} samples: {counts['kept_web']} web, {counts['kept_synthetic']} synthetic, "
            f"{counts['human']} human; {counts['unusable']} could not be used"
        )


def kept_samples(ledger: pa.Table, reader: Reader) -> Iterator[RawSample]:
    """Yield one sample per kept text, image by image.

    Raises StageError when the reader lacks a kept text's image.
    """
    kept: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in ledger.filter(ledger["kept"]).select(["key", "source", "text"]).to_pylist():
        kept[row["key"]].append((row["source"], row["text"]))
    for index in range(len(reader)):
        try:
            sample = reader[index]
        except DataError:
            continue  # the ledger has it among its quarantined images
        numbers: dict[str, int] = defaultdict(int)
        for source, text in kept.pop(sample.key, ()):
            numbers[source] += 1
            number = f"-{numbers[source]}" if numbers[source] > 1 else ""
            key = f"{sample.key}-{KEY_ENDINGS[source]}{number}"
            yield dataclasses.replace(sample, key=key, texts=(text,), source=source)
    if kept:
        raise StageError(f"the reader lacks {len(kept)} images that have kept texts, such as {min(kept)!r}")


def human_samples(name: str, reader: Reader) -> Iterator[RawSample | Quarantined]:
    """Yield every sample of a human dataset, or why it can't be used."""
    yield from reader.quarantined
    for index in range(len(reader)):
        try:
            sample = reader[index]
        except SampleError as error:
            yield Quarantined(error.key, error.reason, error.location)
        except DataError as error:
            yield Quarantined(f"{name}[{index}]", str(error))
        else:
            yield dataclasses.replace(sample, key=f"{sample.key}-{name}", source="human")


def written(shards: ShardWriter, outcome: RawSample | Quarantined, quarantine: Quarantine) -> bool:
    """Write a sample, or note why it can't be; say which of the two it was."""
    if isinstance(outcome, Quarantined):
        quarantine.add(outcome)
        return False
    try:
        shards.write(outcome)
    except DataError as error:
        quarantine.add(Quarantined(outcome.key, str(error), outcome.location))
        return False
    return True


def check_accounts(counts: Mapping[str, int]) -> None:
    """Raises StageError unless everything that came in is kept, dropped, quarantined or written."""
    balances = {
        "candidates = kept + dropped": counts["candidates"]
        - sum(counts[f"{fate}_{source}"] for fate in ("kept", "dropped") for source in (WEB, SYNTHETIC)),
        "kept + human = written + unusable": counts["kept_web"]
        + counts["kept_synthetic"]
        + counts["human"]
        - counts["written"]
        - counts["unusable"],
    }
    wrong = [name for name, balance in balances.items() if balance]
    if wrong:
        raise StageError(f"samples were lost on the way: {'; '.join(wrong)} does not hold of {dict(counts)}")
