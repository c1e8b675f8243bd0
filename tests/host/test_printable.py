from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.printable import brief, printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a cat, 3 €, 左, é", "a cat, 3 €, 左, é"),
        ("\x1b[31mred\x07\r", r"\x1b[31mred\x07\r"),
        ("\x9b2J", r"\x9b2J"),
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
        ("\u202egpj.exe\u2066\u2069\u200e", r"\u202egpj.exe\u2066\u2069\u200e"),
        ("\u2028\u2029\u0085", r"\u2028\u2029\x85"),
        ("half \ud83d", r"half \ud83d"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("👩\u200d🔬 नु\u200cमा", "👩\u200d🔬 नु\u200cमा"),
        ("", ""),
    ],
)
def test_what_would_not_be_seen_is_spelt_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("abcd", "abcd"), ("abcde", "abcd… (5 characters)"), ("\n" * 1234, r"\n\n\n\n… (1,234 characters)")],
)
def test_long_texts_are_cut(text: str, shown: str) -> None:
    assert brief(text, limit=4) == shown


def test_messages_keep_their_lines() -> None:
    assert printable_lines("2 problems\n  a\x1b[0m\n  b\r\nc") == "2 problems\n  a\\x1b[0m\n  b\\r\nc"


def test_other_things_are_shown_as_text() -> None:
    assert printable(ValueError("a\nb")) == r"a\nb"


@given(st.text(st.characters(codec=None)))
def test_nothing_hidden_is_left_and_it_can_be_written(text: str) -> None:
    for shown in (printable(text), printable_lines(text).replace("\n", "")):
        shown.encode()
        assert all(unicodedata.category(one) not in ("Cc", "Cs", "Zl", "Zp") for one in shown)
        assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
    assert printable(printable(text)) == printable(text)
