"""The filter's pass over web and synthetic texts (BLIP §3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from mmtk.api import (
    DataError,
    MatchingHead,
    RawSample,
    Reader,
    StageContext,
    StageError,
    TextTransform,
)
from mmtk.data.configs import EvaluationDataConfig
from mmtk.data.tables import read_columns
from mmtk.engine.checkpoint import load_learner
from mmtk.engine.learner import Learner
from mmtk_capfilt.ledger import SCHEMA, SYNTHETIC, WEB, LedgerRow, funnel, image_row, to_table
from mmtk_capfilt.parts import images_of, in_parts, write_table


@dataclass(frozen=True)
class Candidate:
    """A text of an image, cleaned for scoring.

    Attributes:
        sample: the image's sample.
        source: ``web`` or ``synthetic``.
        text: as it was found or written.
        cleaned: what the model reads; empty where nothing is left to score.
        reason: why it is dropped whatever its score; empty if its score decides.
    """

    sample: RawSample
    source: str
    text: str
    cleaned: str
    reason: str


def candidates(sample: RawSample, caption: str | None, clean: TextTransform) -> Iterator[Candidate]:
    """Yield an image's web texts, then its caption. Of texts that are equal once cleaned the first counts."""
    sources: dict[str, str] = {}
    texts = [(WEB, text) for text in sample.texts]
    if caption is not None:
        texts.append((SYNTHETIC, caption))
    for source, text in texts:
        try:
            cleaned = clean(text)
        except DataError as error:
            yield Candidate(sample, source, text, "", str(error))
            continue
        if not cleaned:
            yield Candidate(sample, source, text, "", "empty text")
            continue
        reason = f"same as the {sources[cleaned]} text" if cleaned in sources else ""
        sources.setdefault(cleaned, source)
        yield Candidate(sample, source, text, cleaned, reason)


class FilterStage:
    """Writes ``ledger.parquet``: every text of every image with its scores, and what is kept.

    A text is kept if ``softmax(match_logits)[1]`` is at least its source's threshold. Every image is encoded
    once for all its texts, and texts that are equal once cleaned are scored once.
    """

    def __init__(
        self,
        *,
        checkpoint: Path,
        data: EvaluationDataConfig,
        captions: Path | None,
        threshold: float,
        synthetic_threshold: float | None,
        part_size: int,
    ) -> None:
        self._checkpoint = checkpoint
        self._data = data
        self._captions = captions
        self._thresholds = {
            WEB: threshold,
            SYNTHETIC: threshold if synthetic_threshold is None else synthetic_threshold,
        }
        self._part_size = part_size

    def run(self, context: StageContext) -> None:
        """Score in parts, then write the ledger.

        Raises CheckpointError when the checkpoint has no matching head, StageError for captions of images
        that the reader lacks and for scores that are not finite.
        """
        learner = load_learner(self._checkpoint, context.registry, context.device)
        learner.head_with(MatchingHead)
        captions = read_captions(self._captions) if self._captions else {}
        reader = self._data.reader.build()

        def compute(indices: range) -> pa.Table:
            table = self._judge(learner, reader, indices, captions)
            context.say(f"filtered the texts of {indices.stop} of {len(reader)} images")
            return table

        rows = in_parts(context.folder / "parts", len(reader), self._part_size, SCHEMA, compute)
        ledger = pa.concat_tables([rows, to_table(image_row(entry) for entry in reader.quarantined)])
        stray = captions.keys() - set(ledger["key"].to_pylist())
        if stray:
            raise StageError(
                f"{self._captions} has captions of {len(stray)} images that the reader lacks, "
                f"such as {min(stray)!r}"
            )
        write_table(ledger, context.folder / "ledger.parquet")
        counts = funnel(ledger)
        context.say(
            f"kept {counts['kept_web']} web and {counts['kept_synthetic']} synthetic texts "
            f"of {counts['candidates']}; "
            f"{counts['quarantined']} images could not be read"
        )

    @torch.inference_mode()
    def _judge(
        self, learner: Learner, reader: Reader, indices: range, captions: Mapping[str, str]
    ) -> pa.Table:
        data = images_of(self._data, reader, indices)
        clean = self._data.text_transform.build()
        rows: list[LedgerRow] = []
        images = 0
        for batch in data:
            samples = [data.raw(key) for key in batch.keys]
            found = [list(candidates(sample, captions.get(sample.key), clean)) for sample in samples]
            scores = score(learner, batch.images, [[c.cleaned for c in group] for group in found])
            rows += (
                self._row(candidate, own.get(candidate.cleaned))
                for group, own in zip(found, scores, strict=True)
                for candidate in group
            )
            images += len(samples)
        rows += (image_row(entry) for entry in data.quarantine.entries)
        failed = len(data.quarantine)
        if images + failed != len(indices):
            raise StageError(f"{len(indices)} images in, but {images} scored and {failed} quarantined")
        return to_table(rows)

    def _row(self, candidate: Candidate, scores: Scores | None) -> LedgerRow:
        sample = candidate.sample
        probability, similarity = scores or (None, None)
        reason = candidate.reason
        threshold = self._thresholds[candidate.source]
        if not reason and probability is not None and probability < threshold:
            reason = f"itm_probability below {threshold:g}"
        return LedgerRow(
            sample.key,
            sample.image_id,
            candidate.source,
            candidate.text,
            probability,
            similarity,
            not reason,
            reason,
        )


class Scores(NamedTuple):
    """How well an image and a text match: ITM probability and cosine of the ITC features."""

    itm_probability: float
    itc_similarity: float


def score(learner: Learner, images: Tensor, texts: Sequence[Sequence[str]]) -> list[dict[str, Scores]]:
    """Score each image against its own texts, by text.

    Args:
        images: ``(B, 3, H, W)`` float32.
        texts: ``B`` sequences of cleaned texts. Repeated ones are scored once, empty ones not at all.

    Raises StageError when a score is not finite: a comparison with NaN decides nothing.
    """
    pairs = [(row, text) for row, own in enumerate(texts) for text in dict.fromkeys(own) if text]
    result: list[dict[str, Scores]] = [{} for _ in texts]
    if not pairs:
        return result
    device = next(learner.parameters()).device
    index = torch.tensor([row for row, _ in pairs], device=device)
    image = learner.model.encode_images(images.to(device))
    text = learner.model.encode_texts([text for _, text in pairs])
    logits = learner.head_with(MatchingHead).match_logits(image.select(index), text)
    probabilities = logits.float().softmax(dim=-1)[:, 1]
    similarities = (image.features[index] * text.features).float().sum(dim=-1)
    scores = torch.stack([probabilities, similarities], dim=1)
    if not scores.isfinite().all():
        raise StageError("the filter gives scores that are not finite; its training has diverged")
    for (row, words), own in zip(pairs, scores.tolist(), strict=True):
        result[row][words] = Scores(*own)
    return result


def read_captions(path: Path) -> dict[str, str]:
    """Read the captions by image key. Raises DataError for another file, StageError when an image has two."""
    table = read_columns(path, ["key", "text"])
    captions = dict(zip(table["key"].to_pylist(), table["text"].to_pylist(), strict=True))
    if len(captions) != len(table):
        raise StageError(f"{path} has {len(table)} captions of {len(captions)} images; one each is expected")
    return captions
