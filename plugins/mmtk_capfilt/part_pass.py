"""The pass of CapFilt over the images of a part: all steps on images that are read and decoded once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from mmtk.api import (
    HUMAN,
    SYNTHETIC,
    WEB,
    Candidate,
    DataError,
    EvaluationDataConfig,
    ImageCandidates,
    Quarantined,
    RawSample,
    Reader,
    SampleError,
    decode_image,
    ordered_map,
    seed_everything,
    stable_hash,
)
from mmtk_capfilt.decisions import FAILED, KEPT, Decision, decide
from mmtk_capfilt.ledger import LedgerRow, image_row
from mmtk_capfilt.named_steps import Bookkeeping, NamedStep
from mmtk_capfilt.output import shard_key, unwritable
from mmtk_capfilt.parts import WEB_DATASET, Part

KEY_ENDINGS = {WEB: "web", SYNTHETIC: "syn"}


class PartResult(NamedTuple):
    """What a part has come to: the samples to write, one for each time a text is written, and its rows."""

    samples: list[RawSample]
    rows: list[LedgerRow]


class PartPass:
    """Reads the images of a part, has the steps work on them and decides their texts.

    Args:
        readers: the datasets by name.
        data: how images are read and prepared; its ``batch_size`` is how many the steps get at a time.
        steps: the steps in order.
        weights: how often a kept text is written, by its source or dataset.
        seed: the run's seed.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        data: EvaluationDataConfig,
        steps: Sequence[NamedStep],
        weights: Mapping[str, float],
        seed: int,
    ) -> None:
        self._readers = readers
        self._data = data
        self._steps = steps
        self._rules = [named.rules for named in steps]
        self._weights = weights
        self._seed = seed
        self._transform = data.image_transform.build()
        self._bookkeeping = Bookkeeping(data.text_transform.build(), data.limits.max_text_length)

    def __call__(self, part: Part) -> PartResult:
        """Raises StageError when a step breaks its promise, and what steps raise."""
        result = PartResult([], [])
        for number, loaded in enumerate(self._batches(part)):
            seed_everything(stable_hash(self._seed, "capfilt", part.number, number))
            images = [one for one in loaded if isinstance(one, ImageCandidates)]
            for named in self._steps[part.entry :]:
                images = self._bookkeeping.run(named, images)
            done = iter(images)
            for one in loaded:
                if isinstance(one, Quarantined):
                    result.rows.append(image_row(one))
                else:
                    self._account(next(done), part, result)
        return result

    def _batches(self, part: Part) -> Iterator[list[ImageCandidates | Quarantined]]:
        size = self._data.batch_size
        starts = range(0, len(part.images), size)

        def load(start: int) -> list[ImageCandidates | Quarantined]:
            return [self._load(part, index) for index in part.images[start : start + size]]

        return ordered_map(load, starts, self._data.workers, self._data.prefetch)

    def _load(self, part: Part, index: int) -> ImageCandidates | Quarantined:
        """Read, decode and prepare an image, or say why it can't be used."""
        key, location = f"{part.dataset}[{index}]", ""
        try:
            sample = self._readers[part.dataset][index]
            key, location = sample.key, sample.location
            picture = decode_image(sample.image, self._data.limits)
        except SampleError as error:
            return Quarantined(ledger_key(error.key, part.dataset), error.reason, error.location)
        except DataError as error:
            return Quarantined(ledger_key(key, part.dataset), str(error), location)
        sample = dataclasses.replace(sample, key=ledger_key(sample.key, part.dataset))
        source = WEB if part.dataset == WEB_DATASET else HUMAN
        seed = stable_hash(self._seed, "capfilt", sample.key)
        image = ImageCandidates(
            sample,
            index,
            picture,
            self._transform(picture, torch.Generator().manual_seed(seed)),
            seed,
            tuple(Candidate(text, source) for text in sample.texts),
        )
        return self._bookkeeping.settle(image)

    def _account(self, image: ImageCandidates, part: Part, result: PartResult) -> None:
        """Add an image's rows, and the samples of the texts that are kept."""
        if not image.candidates:
            reason = image.left_out or "no text"
            result.rows.append(image_row(Quarantined(image.key, reason, image.sample.location)))
            return
        decisions = decide(image.candidates, self._rules)
        fates = settle_texts(image.sample, image.candidates, decisions, self._weights, part.dataset)
        for one, (decision, samples) in zip(image.candidates, fates, strict=True):
            result.samples.extend(samples)
            result.rows.append(self._row(image, one, decision))

    def _row(self, image: ImageCandidates, one: Candidate, decision: Decision) -> LedgerRow:
        scored_by = [
            named.model for named in self._steps if named.model and set(named.gives) & set(one.scores)
        ]
        return LedgerRow(
            shard=image.sample.location,
            key=image.key,
            image_id=image.sample.image_id,
            source=one.source,
            text=one.text,
            written_by=one.written_by,
            scored_by=",".join(scored_by),
            decision=decision.decision,
            step=decision.step,
            reason=decision.reason,
            final=decision.final,
            scores=one.scores,
        )


def settle_texts(
    image: RawSample,
    candidates: Sequence[Candidate],
    decisions: Sequence[Decision],
    weights: Mapping[str, float],
    dataset: str,
) -> Iterator[tuple[Decision, list[RawSample]]]:
    """Give, of each text of an image, what becomes of it and the samples that it is written as.

    Args:
        image: with the key that it has in the ledger.
        decisions: by the rules; a text that they keep and that can't be written has failed.
        weights: how often a kept text is written, by its source or dataset; 1 where it is missing.
        dataset: the image's.
    """
    numbers: Counter[str] = Counter()
    for one, decision in zip(candidates, decisions, strict=True):
        if decision.decision != KEPT:
            yield decision, []
            continue
        numbers[one.source] += 1
        sample = _sample(image, one, numbers[one.source])
        if problem := unwritable(sample):
            yield Decision(FAILED, "write", problem, True), []
        else:
            yield decision, list(copies(sample, weights.get(dataset or one.source, 1.0)))


def copies(sample: RawSample, weight: float) -> Iterator[RawSample]:
    """The sample as often as its weight says; a fraction is a chance that depends on the key alone."""
    whole, fraction = divmod(weight, 1)
    count = int(whole) + (stable_hash("copies", sample.key) < fraction * 2**63)
    for number in range(count):
        yield dataclasses.replace(sample, key=f"{sample.key}-copy{number + 1}") if number else sample


def _sample(image: RawSample, one: Candidate, number: int) -> RawSample:
    """A kept text as a sample of its own: ``KEY-web``, ``KEY-web-2``, ``KEY-syn``, ``KEY-DATASET``."""
    endings = [KEY_ENDINGS.get(one.source), str(number) if number > 1 else None]
    key = "-".join([shard_key(image.key), *filter(None, endings)])
    return dataclasses.replace(image, key=key, texts=(one.text,), source=one.source)


def ledger_key(key: str, dataset: str) -> str:
    """An image's key in the ledger; those of further datasets end with their name."""
    return f"{key}-{dataset}" if dataset else key
