"""Texts that are a question and its answer: ``QUESTION? ANSWER``."""

from __future__ import annotations

import re

from mmtk.api import DataError

# What the public data/utils.py (pre_question) deletes; question marks stay.
REMOVED = re.compile(r"""[.!"()*#:;~]""")


class VqaPair:
    """BLIP's cleaning of questions (the public ``data/utils.py``), the answer in lower case behind them.

    Args:
        max_words: words of the question that are kept.
    """

    def __init__(self, *, max_words: int = 50) -> None:
        self.max_words = max_words

    def __call__(self, text: str) -> str:
        """Raises DataError when the text is no ``QUESTION? ANSWER``."""
        question, answer = parted(text)
        words = REMOVED.sub("", question.removesuffix("?").lower()).split()[: self.max_words]
        if not words:
            raise DataError(f"empty question: nothing is left of {question[:60]!r}")
        return f"{' '.join(words)}? {' '.join(answer.lower().split())}"


def parted(text: str) -> tuple[str, str]:
    """Part ``QUESTION? ANSWER`` behind its first question mark. Raises DataError if one is missing."""
    question, mark, answer = text.partition("?")
    if not (question.strip() and mark and answer.strip()):
        raise DataError(f"expected a text 'QUESTION? ANSWER', not {text[:60]!r}")
    return f"{question}?", answer.strip()
