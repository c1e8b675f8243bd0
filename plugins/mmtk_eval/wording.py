"""Captions in the form in which they are compared."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+(?:['\u2019.,-]\w+)*")


def words(text: str) -> str:
    """Lower-case words and numbers, parted by single spaces: the form in which captions are compared.

    COCO's scorers part words with a Java program and drop punctuation; this does the same but for
    contractions, which stay one word.
    """
    return " ".join(WORD.findall(text.lower()))
