"""The classifier of languages, and the languages that it knows. This module imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from mmtk.api import nearest


def load_classifier() -> Any:
    """That of py3langid, choosing among all its languages. Raises ImportError without the library."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def known_languages() -> tuple[str, ...]:
    """ISO 639 codes. Raises ImportError without the library."""
    return tuple(load_classifier().labels)


def language_fault(language: str, known: Sequence[str]) -> str | None:
    """Say that the classifier doesn't know a language; None if it does."""
    if language in known:
        return None
    near = nearest(language, known)
    hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(known))}"
    return f"unknown language {language!r}; {hint}"
