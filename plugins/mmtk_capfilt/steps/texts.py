"""Steps that look at scores and texts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmtk.api import HUMAN, Best, Blueprint, Candidate, ImageCandidates, Reader, counted


class KeepBest:
    """Keeps, of the texts of an image that the steps before it keep, those of the highest score."""

    def __init__(self, *, score: str, count: int) -> None:
        self.rules = (Best(score, count),)

    def __call__(self, images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        return images


class LengthFilter:
    """Bars texts with too few or too many words, as the pass has cleaned them."""

    def __init__(self, *, min_words: int, max_words: int | None) -> None:
        self._min_words = min_words
        self._max_words = max_words

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [image.barring(self._reason) for image in images]

    def _reason(self, one: Candidate) -> str | None:
        if one.source == HUMAN:
            return None
        words = len(one.cleaned.split())
        if words < self._min_words:
            return f"{counted(words, 'word')}, fewer than {self._min_words}"
        if self._max_words is not None and words > self._max_words:
            return f"{counted(words, 'word')}, more than {self._max_words}"
        return None


class Merge:
    """Adds human datasets, whose texts are kept as they are, and weighs what is written."""

    def __init__(self, *, human: Mapping[str, Blueprint[Reader]], weights: Mapping[str, float]) -> None:
        self.datasets = {name: blueprint.build() for name, blueprint in human.items()}
        self.weights = dict(weights)

    def __call__(self, images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        return images
