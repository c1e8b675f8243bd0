"""Human pairs against their own shuffles: right and wrong texts where nobody has labelled any."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtk.api import BatchSize, DataError, InferenceModel, MatchingHead, Reader, decode_image, in_batches
from mmtk_capfilt.calibration.figures import Judged
from mmtk_capfilt.ledger import ITC, ITM

SCORES = (ITM, ITC)
TRIES = 20  # strangers that are drawn for a pair before it is left out


class Pair(NamedTuple):
    """An image by its place in its dataset, its own text and another image's, both cleaned."""

    place: int
    own: str
    strange: str


def judged_pairs(
    model: InferenceModel,
    reader: Reader,
    score: str,
    count: int,
    batch_size: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Judged:
    """Score each pair of a dataset, and its image with another image's text, drawn the same way each time.

    Pictures that can't be read and pairs whose text cleaning leaves nothing of are left out.

    Args:
        score: ``itm_probability`` or ``itc_similarity``.
        count: greatest number of pairs; of more, so many are taken, spread over the dataset.
        advance: called after each pair.

    Raises:
        DataError: fewer than two images can be used.
        CheckpointError: the model has no matching head.
    """
    pairs = _with_strangers(_usable(model, reader, count))
    head = model.learner.head_with(MatchingHead)

    def scored(batch: list[Pair]) -> list[tuple[float, float] | None]:
        with torch.inference_mode():
            return _scores(model, reader, head, batch, score)

    results = []
    for result in in_batches(pairs, scored, BatchSize(batch_size, model.device)):
        results += [result] if result else []
        advance()
    both = np.asarray(results, np.float64).reshape(-1, 2)
    return Judged(
        score,
        "human pairs and shuffled ones",
        both.T.reshape(-1),
        np.repeat([True, False], len(both)),
    )


def _usable(model: InferenceModel, reader: Reader, count: int) -> list[tuple[int, str, str]]:
    """Index, image and first text, cleaned, of each pair that is taken."""
    found = []
    number = min(count, len(reader))
    for place in range(number):
        index = place * len(reader) // number
        try:
            sample = reader[index]
            text = model.preparation.text(sample.texts[0]) if sample.texts else ""
        except DataError:
            continue
        if text:
            found.append((index, sample.image_id, text))
    return found


def _with_strangers(usable: Sequence[tuple[int, str, str]]) -> list[Pair]:
    """Give each pair the text of another image, which says something else."""
    draw = random.Random(0)
    pairs = []
    for index, image_id, text in usable:
        for _ in range(TRIES):
            _, other_id, stranger = draw.choice(usable)
            if other_id != image_id and stranger != text:
                pairs.append(Pair(index, text, stranger))
                break
    if not pairs:
        raise DataError(f"{len(usable)} usable pairs: shuffling needs pairs of different images and texts")
    return pairs


def _scores(
    model: InferenceModel, reader: Reader, head: MatchingHead, batch: Sequence[Pair], score: str
) -> list[tuple[float, float] | None]:
    """Each pair's score with its own and with the other text; None where its picture can't be used."""
    pixels = [_pixels(model, reader, pair.place) for pair in batch]
    usable = [row for row, one in enumerate(pixels) if one is not None]
    if not usable:
        return [None] * len(batch)
    stacked = torch.stack([one for one in pixels if one is not None]).to(model.device)
    images = model.learner.model.encode_images(stacked)
    both = images.select(torch.arange(len(usable), device=model.device).repeat(2))
    taken = [batch[row] for row in usable]
    texts = model.learner.model.encode_texts([one.own for one in taken] + [one.strange for one in taken])
    if score == ITM:
        values = head.match_logits(both, texts).float().softmax(dim=-1)[:, 1]
    else:
        values = (both.features * texts.features).float().sum(dim=-1)
    own, strange = values.view(2, -1).tolist()
    done = dict(zip(usable, zip(own, strange, strict=True), strict=True))
    return [done.get(row) for row in range(len(batch))]


def _pixels(model: InferenceModel, reader: Reader, index: int) -> Tensor | None:
    try:
        picture = decode_image(reader[index].image)
    except DataError:
        return None
    return model.preparation.image(picture, torch.Generator())
