"""ALBEF's cleaning of captions."""

from __future__ import annotations

import re

from mmtk.api import DataError

REMOVED = re.compile(r"""[,.'!?"()*#:;~]""")
SPACES = str.maketrans("-/", "  ")
PERSON = "<person>"  # what Conceptual Captions writes for names


class AlbefCaption:
    """Lower case without punctuation (the public code's ``dataset/utils.py``).

    Unlike BLIP's cleaning it deletes marks, also commas, apostrophes and question marks, and so joins what
    they stood between.

    Args:
        max_words: words that are kept.
    """

    def __init__(self, *, max_words: int = 30) -> None:
        self.max_words = max_words

    def __call__(self, text: str) -> str:
        """Return the first ``max_words`` words. Raises DataError when no word is left."""
        cleaned = REMOVED.sub("", text.lower()).translate(SPACES).replace(PERSON, "person")
        words = cleaned.split()[: self.max_words]
        if words:
            return " ".join(words)
        raise DataError(f"empty text: nothing is left of {text[:60]!r}" if text.strip() else "empty text")
