"""Keeping texts of some languages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmtk.api import HUMAN, Candidate, ImageCandidates, StageError
from mmtk_capfilt.steps.languages import language_fault, load_classifier


class LanguageFilter:
    """Bars texts that are hardly in any of the languages, as the classifier of py3langid judges them.

    A text is judged as it was found or written, because cleaning takes letters' case away.
    """

    def __init__(self, *, languages: Sequence[str], among: Sequence[str], threshold: float) -> None:
        """Raises StageError without py3langid, and ValueError for a language it doesn't know."""
        self._languages = tuple(dict.fromkeys(languages))
        self._threshold = threshold
        self._identifier = _load([*self._languages, *among])

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [image.barring(self.reason) for image in images]

    def reason(self, one: Candidate) -> str | None:
        """Say why a text is barred; None if it isn't."""
        if one.source == HUMAN:
            return None
        ranking = self._identifier.rank(one.text)
        probabilities = dict(ranking)
        share = sum(probabilities[language] for language in self._languages)
        if share >= self._threshold:
            return None
        return f"language: {ranking[0][0]}, and {'/'.join(self._languages)} with a probability of {share:.2g}"


def _load(languages: Sequence[str]) -> Any:
    """The classifier, choosing among these languages."""
    try:
        identifier = load_classifier()
    except ImportError as error:
        raise StageError(
            "the step language_filter needs the library py3langid: pip install 'mmtk[language]'"
        ) from error
    if faults := [fault for one in languages if (fault := language_fault(one, identifier.labels))]:
        raise ValueError(faults[0])
    identifier.set_languages(languages)
    return identifier
