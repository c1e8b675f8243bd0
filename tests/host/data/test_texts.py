from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.data import texts
from mmtk.data.texts import BlipCaption, check_unicode, drop_blank, word_pattern
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


def test_what_lies_behind_the_longest_text_is_cut_off_before_it_is_cleaned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    class Spy:
        def sub(self, _with: str, text: str) -> str:
            seen.append(len(text))
            return text

    monkeypatch.setattr(texts, "PUNCTUATION", Spy())
    assert BlipCaption()("word " * 10**6) == " ".join(["word"] * 30)
    assert seen == [texts.LONGEST]


@pytest.mark.parametrize("text", ["a" * 10**6, "a." * 10**6, "\u0130" * 10**6])
def test_no_caption_is_much_longer_than_the_longest_text(text: str) -> None:
    assert len(BlipCaption()(text)) <= 2 * texts.LONGEST  # lower case may have more letters


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        (["left"], "on the LEFT.", True),
        (["left"], "left-hand", True),
        (["left"], "cleft leftover", False),
        (["left*"], "leftover", True),
        (["*hand"], "a lefthand turn", True),
        (["*左*"], "一只狗在左边", True),
        (["a.c"], "abc", False),
        (["über"], "ÜBER uns", True),
    ],
)
def test_word_patterns(words: list[str], text: str, found: bool) -> None:
    assert bool(word_pattern(words).search(text)) == found
