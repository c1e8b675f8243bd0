import base64
from pathlib import Path

import pytest
from mmtk_capfilt.ledger import LedgerRow
from mmtk_capfilt.report.gallery import LABELS, GallerySection

from mmtk.api import DataError
from tests.capfilt.report.samples import (
    ListReader,
    ReaderPlan,
    failed_row,
    pair,
    picture,
    text_row,
    write_ledger,
)
from tests.host.report.reading import HOSTILE, Element, Page, check_harmless

RED = picture("red")


def section(
    folder: Path, rows: list[LedgerRow], images: dict[str, bytes | None], count: int = 48
) -> GallerySection:
    plan = ReaderPlan(ListReader(images))
    return GallerySection(ledger=write_ledger(folder, rows), images=[plan], count=count, title="Gallery")


def page_of(folder: Path, rows: list[LedgerRow], images: dict[str, bytes | None] | None = None) -> Page:
    keys = dict.fromkeys(row.key for row in rows)
    page = Page(section(folder, rows, images if images is not None else dict.fromkeys(keys, RED)).html())
    check_harmless(page)
    return page


def test_a_rescued_picture(tmp_path: Path) -> None:
    rows = [
        text_row("k1", "web", "IMG_0042.jpg", 0.031),
        text_row("k1", "synthetic", "a red square", 0.974),
    ]
    page = page_of(tmp_path, rows)
    card = page.one("li", "card")
    assert "rescued" in card.classes
    assert page.one("del").text == "IMG_0042.jpg"
    assert [e.text for e in page.all("p", "verdict")] == [
        "web ✕ dropped ITM 0.03",
        "synthetic ✓ kept ITM 0.97",
    ]
    assert [e.text for e in page.all("p", "words")] == ["IMG_0042.jpg", "a red square"]
    assert page.one("p", "reason").text == "ITM below 0.5"
    image = page.one("img").attributes
    assert image["src"] == f"data:image/png;base64,{base64.b64encode(RED).decode()}"
    assert image["alt"] == "Picture k1"


def test_kept_texts_are_not_struck_out(tmp_path: Path) -> None:
    page = page_of(tmp_path, pair("a", 0.9, 0.8))
    assert not page.all("del")
    assert "both-kept" in page.one("li", "card").classes
    assert not page.all("p", "reason")


def test_the_web_text_stands_before_the_synthetic_one(tmp_path: Path) -> None:
    page = page_of(tmp_path, pair("a", 0.9, 0.8)[::-1])
    assert [e.text for e in page.all("span", "source")] == ["web", "synthetic"]


def test_failed_image(tmp_path: Path) -> None:
    page = page_of(tmp_path, [failed_row("bad", "unreadable image: 12 bytes")])
    assert not page.all("img")
    assert "no picture to show" in page.one("div", "no-picture").text
    assert "unreadable image: 12 bytes" in page.one("li", "card").text
    assert "failed" in page.one("li", "card").classes


def test_a_duplicate_that_was_set_aside_is_not_held_against_the_first(tmp_path: Path) -> None:
    page = page_of(tmp_path, [*pair("a", 0.9, 0.8), failed_row("a", "duplicate key")])
    assert "both-kept" in page.one("li", "card").classes
    assert "duplicate" not in page.one("li", "card").text
    assert [e.text for e in page.all("label")] == ["All shown 1", "Both texts kept 1"]


@pytest.mark.parametrize("images", [{}, {"a": None}, {"a": b"no image"}])
def test_a_picture_that_can_not_be_found_leaves_its_texts(
    tmp_path: Path, images: dict[str, bytes | None]
) -> None:
    page = page_of(tmp_path, pair("a", 0.9, 0.8), images)
    assert not page.all("img")
    assert len(page.all("p", "words")) == 2


def test_texts_without_score_or_words(tmp_path: Path) -> None:
    page = page_of(tmp_path, [text_row("a", "web", " ", None, "empty text")])
    assert page.one("p", "words").text == "(empty text)"
    assert page.one("p", "verdict").text == "web ✕ dropped"
    assert page.one("p", "reason").text == "empty text"


def test_filters_work_without_script(tmp_path: Path) -> None:
    rows = [*pair("a", 0.1, 0.9), *pair("b", 0.9, 0.9), *pair("c", 0.1, 0.1)]
    page = page_of(tmp_path, rows)
    inputs = page.all("input")
    assert [e.attributes["type"] for e in inputs] == ["radio"] * 4
    assert len({e.attributes["name"] for e in inputs}) == 1
    assert [("checked" in e.attributes) for e in inputs] == [True, False, False, False]
    assert {e.attributes["for"] for e in page.all("label")} == {e.attributes["id"] for e in inputs}
    css = section(tmp_path, rows, {}).css()
    for outcome in LABELS:
        assert f".pick-{outcome}:checked ~ .cards .card:not(.{outcome}) {{ display: none; }}" in css
    shown = {name for e in page.all("li", "card") for name in e.classes} - {"card"}
    assert shown <= LABELS.keys()
    assert css.count("{") == css.count("}")


def test_count_and_totals(tmp_path: Path) -> None:
    rows = [row for number in range(60) for row in pair(f"k{number:02d}", 0.1, 0.9)]
    page = Page(section(tmp_path, rows, {}, count=12).html())
    assert len(page.all("li", "card")) == 12
    assert page.all("p")[0].text.startswith("12 of 60 pictures.")
    assert [e.text for e in page.all("label")] == ["All shown 12", "Rescued by a new caption 12 of 60"]


def test_two_galleries_on_a_page_do_not_switch_each_other(tmp_path: Path) -> None:
    one, two = (
        GallerySection(
            ledger=write_ledger(tmp_path, pair("a", 0.9, 0.9)), images=[], count=5, title=title
        ).html()
        for title in ("One", "Two")
    )
    check_harmless(Page(one + two))


def hostile_words(page: Page) -> Element:
    return page.all("p", "words")[0]


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        '\'" onmouseover=alert(1) x="',
        "{{ 7 * 7 }} {% raw %} </style><style>*{display:none}",
        "family 👨‍👩‍👧‍👦 and flag 🇩🇪",
        "שלום עולם مرحبا",
        "x" * 240,
    ],
)
def test_texts_are_shown_as_they_are(tmp_path: Path, text: str) -> None:
    page = page_of(tmp_path, [text_row("a", "web", text, 0.1), text_row("a", "synthetic", text, 0.9)])
    assert [e.text for e in page.all("p", "words")] == [text, text]
    assert {e.attributes["dir"] for e in page.all("p", "words")} == {"auto"}


def test_keys_and_reasons_are_escaped(tmp_path: Path) -> None:
    page = page_of(
        tmp_path, [text_row(HOSTILE, "web", "text", 0.1, HOSTILE), failed_row(f"x{HOSTILE}", HOSTILE)]
    )
    assert page.all("p", "reason")[0].text == HOSTILE
    assert HOSTILE[:60] in page.one("img").attributes["alt"]


def test_very_long_and_unprintable_texts_are_cut_and_cleaned(tmp_path: Path) -> None:
    page = page_of(
        tmp_path, [text_row("a", "web", "y" * 5000, 0.9), text_row("a", "synthetic", "a\x00\x1bb", 0.9)]
    )
    assert [e.text for e in page.all("p", "words")] == ["y" * 240 + "… (5,000 characters)", "a\ufffd\ufffdb"]


def test_an_empty_ledger_is_said(tmp_path: Path) -> None:
    page = page_of(tmp_path, [])
    assert page.one("p", "empty").text == "The ledger is empty: there are no pictures to show."
    assert not page.all("input")


def test_another_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"has no column .*decision"):
        GallerySection(ledger=tmp_path / "other.parquet", images=[], count=5, title="Gallery")
