"""ALBEF's caption cleaning, by examples worked out from the public code's rules."""

from __future__ import annotations

import pytest
from mmtk_albef.caption import AlbefCaption

from mmtk.errors import DataError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Dog.", "a dog"),
        ("a man's hat, isn't it?", "a mans hat isnt it"),
        ("black-and-white cat/dog", "black and white cat dog"),
        ("<PERSON> at  the beach\n", "person at the beach"),
        ("3:15 (noon) ~ #tag; *star*", "315 noon tag star"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert AlbefCaption()(text) == expected


def test_words_beyond_the_limit_are_cut() -> None:
    assert AlbefCaption(max_words=2)("one two - three") == "one two"


@pytest.mark.parametrize(("text", "message"), [(" \n", "empty text$"), ("?!", "nothing is left of '\\?!'")])
def test_nothing_left(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        AlbefCaption()(text)
