"""Searching an index: a shortlist by features, ranked anew by the matching head (BLIP §5.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from mmtk.errors import DataError
from mmtk.inference.index_files import Index
from mmtk.inference.results import Found
from mmtk.kinds import MatchingHead

if TYPE_CHECKING:
    from mmtk.inference.model import InferenceModel

RERANKED = 32


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Attributes:
        wanted: a text, or the path of a picture.
        by_image: whether it is a path.
        top: how many pictures are returned.
        rerank: of how many the matching head is asked; None is ``RERANKED`` if there is such a head. For a
            picture it can't be asked.
    """

    wanted: str
    by_image: bool = False
    top: int = 10
    rerank: int | None = None


def search_index(model: InferenceModel, index: Index, query: Query) -> list[Found]:
    """Return the pictures that fit best, the best first.

    All are compared by the cosine of their features. The best ``rerank`` of them are then put in the order
    of matching logit plus cosine, as in BLIP's evaluation of retrieval. Of these a picture that can't be
    read any more comes behind the others, with an error. Ties keep the index's order.

    Raises:
        DataError: the index was made with another model, or holds nothing; the query can't be used.
        CheckpointError: ``rerank`` is given, but there is no matching head.
    """
    _check_same(model, index)
    feature = (model.embed_images if query.by_image else model.embed_texts)([query.wanted])[0].numpy()
    similarities = index.rows @ feature
    count = _reranked(model, query)
    best = np.argsort(-similarities, kind="stable")[: max(query.top, count)]
    found = [Found(index.pictures[row].path, float(similarities[row])) for row in best]
    if count:
        found = [*_by_matching(model, query.wanted, found[:count]), *found[count:]]
    return found[: query.top]


def _check_same(model: InferenceModel, index: Index) -> None:
    if not index.pictures:
        raise DataError(f"{index.folder}: the index holds no pictures")
    again = "make it again with 'mmtk index', or name the model it was made with"
    if index.about.fingerprint != model.fingerprint:
        raise DataError(
            f"{index.folder}: the index was made with {index.about.model} as it was then, which is not the "
            f"model that was loaded, {model.checkpoint}; {again}"
        )
    if index.about.image_size != model.preparation.image.size:
        raise DataError(
            f"{index.folder}: the index was made with pictures of {index.about.image_size} pixels, and the "
            f"model was loaded for {model.preparation.image.size}"
        )


def _reranked(model: InferenceModel, query: Query) -> int:
    """Of how many pictures the matching head is asked."""
    if query.by_image:
        return 0
    if query.rerank is not None:
        return query.rerank
    has_head = any(isinstance(head, MatchingHead) for head in model.learner.heads.values())
    return RERANKED if has_head else 0


def _by_matching(model: InferenceModel, text: str, found: list[Found]) -> list[Found]:
    scored: list[tuple[float, Found]] = []
    logits = model.matching_logits(text, [one.path for one in found])
    for one, (_path, pair, error) in zip(found, logits, strict=True):
        if pair is None:
            scored.append((-np.inf, replace(one, error=error)))
        else:
            scored.append((float(pair[1]) + one.similarity, replace(one, probability=_match(pair))))
    return [one for _score, one in sorted(scored, key=lambda each: -each[0])]


def _match(logits: Tensor) -> float:
    """Logits ``(2,)`` of [no match, match] to the probability of the latter."""
    return float(logits.softmax(dim=0)[1])
