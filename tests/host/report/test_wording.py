import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.report.wording import DASH, MINUS, count, counted, duration, figure, label_of, readable, share


def test_count_and_noun() -> None:
    assert count(3090) == "3,090"
    assert counted(1, "image") == "1 image"
    assert counted(0, "image") == "0 images"
    assert counted(2000, "probability", "probabilities") == "2,000 probabilities"


def test_share_of_nothing_is_a_dash() -> None:
    assert share(1, 3) == "33%"
    assert share(0, 0) == DASH


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.41, "0.410"),
        (-0.05, f"{MINUS}0.050"),
        (-0.0001, "0.000"),
        (12.345, "12.35"),
        (1234.56, "1,234.6"),
        (1402, "1,402"),
        (None, DASH),
        (float("nan"), DASH),
        (float("-inf"), DASH),
    ],
)
def test_figure(value: float | None, expected: str) -> None:
    assert figure(value) == expected


def test_signed_figure() -> None:
    assert figure(0.098, signed=True) == "+0.098"
    assert figure(-3, signed=True) == f"{MINUS}3"
    assert figure(-0.00001, signed=True) == "+0.000"
    assert figure(0.6365, places=4) == "0.6365"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (9.64, "9.6 s"),
        (42.4, "42 s"),
        (59.6, "1 min 00 s"),
        (248, "4 min 08 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r1", "R@1"),
        ("recall_at_10", "R@10"),
        ("recall@5", "R@5"),
        ("bleu4", "BLEU-4"),
        ("cider", "CIDEr"),
        ("roc_auc", "ROC AUC"),
        ("text_to_image", "Text → image"),
        ("dropped_precision", "Dropped precision"),
        ("recall", "Recall"),
    ],
)
def test_label(name: str, expected: str) -> None:
    assert label_of(name) == expected


def test_label_inside_a_line_begins_small() -> None:
    assert label_of("text_to_image", first=False) == "text → image"
    assert label_of("roc_auc", first=False) == "ROC AUC"


def test_readable_replaces_what_html_can_not_hold() -> None:
    assert readable("a\x00b\ud800c\x1b[31m\td") == "a\ufffdb\ufffdc\ufffd[31m\td"


def test_readable_cuts_and_says_how_long_it_was() -> None:
    assert readable("x" * 400) == "x" * 400
    assert readable("x" * 1234, 10) == "x" * 10 + "… (1,234 characters)"


@given(st.text(st.characters(), max_size=50), st.integers(1, 60))
def test_readable_can_always_be_encoded(text: str, limit: int) -> None:
    shown = readable(text, limit)
    assert "\x00" not in shown
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(shown) <= limit + 30
