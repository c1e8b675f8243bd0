from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.data.texts import BlipCaption, check_unicode, drop_blank
from mmtk.errors import DataError


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A Red Heart.", "a red heart"),
        ('He said: "look!" (twice) *#;~', "he said look twice"),
        ("  tabs\tand\nlines  ", "tabs and lines"),
        ("it's 5-year-old, isn't it?", "it's 5-year-old, isn't it?"),
        ("Ünïcode É", "ünïcode é"),
        ("a.b", "a b"),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert BlipCaption()(text) == cleaned


def test_words_beyond_the_limit_are_cut_and_the_prompt_is_not_counted() -> None:
    assert BlipCaption(max_words=2)("one two three") == "one two"
    assert BlipCaption(max_words=2, prompt=" a picture of ")("One, two three") == "a picture of one, two"


@pytest.mark.parametrize("text", ["", "  \n", "...", '"!" (*)'])
def test_nothing_left_is_a_data_error(text: str) -> None:
    with pytest.raises(DataError, match=r"^empty text"):
        BlipCaption(prompt="a picture of")(text)


@given(st.text(max_size=80), st.integers(1, 5))
def test_cleaning_twice_changes_nothing(text: str, limit: int) -> None:
    clean = BlipCaption(max_words=limit)
    try:
        once = clean(text)
    except DataError:
        return
    assert clean(once) == once
    assert 1 <= len(once.split()) <= limit
    assert not set(once) & set('.!"()*#:;~')


def test_half_a_surrogate_pair_is_refused() -> None:
    check_unicode("a", "\ud7ff\ue000 \U0001f431")
    for half in (0xD800, 0xDBFF, 0xDC00, 0xDFFF):
        with pytest.raises(DataError, match="text is not Unicode"):
            check_unicode("a", f"a cat {chr(half)}")


def test_drop_blank() -> None:
    assert drop_blank(["a", " ", "b"]) == ("a", "b")
    assert drop_blank(["", " "]) == ("",)
    assert drop_blank([]) == ("",)
