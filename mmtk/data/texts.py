"""Text transforms."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmtk.errors import DataError

# Far more than a caption's words can have: what is behind is cut off before any work is done on it.
LONGEST = 10_000
# BLIP data/utils.py turns these into spaces in captions.
PUNCTUATION = re.compile(r"""[.!"()*#:;~]""")


def drop_blank(texts: Iterable[str]) -> tuple[str, ...]:
    """Leave blank texts out. If all are blank one stays: training refuses it, but captioning needs none."""
    return tuple(text for text in texts if text.strip()) or ("",)


def check_unicode(*texts: str) -> None:
    """Raises DataError for half a surrogate pair: JSON can spell one, but no file or tokenizer takes it."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"text is not Unicode: half a surrogate pair in {text[:60]!r}") from error


def word_pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Return what finds one of the words in a text, in any case; ``*`` in a word stands for any letters."""
    choices = (r"\w*".join(re.escape(part) for part in word.split("*")) for word in words)
    return re.compile(rf"\b(?:{'|'.join(choices)})\b", re.IGNORECASE)


class BlipCaption:
    """BLIP's caption cleaning: lower case; ``. ! " ( ) * # : ; ~`` and white space become single spaces."""

    def __init__(self, max_words: int = 30, prompt: str = "") -> None:
        self.max_words = max_words
        self.prompt = " ".join(prompt.split())

    def __call__(self, text: str) -> str:
        """Return the prompt and the first ``max_words`` words. Raises DataError when no word is left."""
        words = PUNCTUATION.sub(" ", text[:LONGEST].lower()).split()[: self.max_words]
        if not words:
            raise DataError(
                "empty text" if not text.strip() else f"empty text: nothing is left of {text[:60]!r}"
            )
        caption = " ".join(words)
        return f"{self.prompt} {caption}" if self.prompt else caption
