import base64
from pathlib import Path
from typing import Any

import pytest
from mmtk_capfilt.ledger import LedgerRow
from mmtk_capfilt.report.explorer import MOST_ON_PAGE, ExplorerSection, explorer_script
from mmtk_capfilt.report.explorer_pages import PER_PAGE

from mmtk.api import DataError
from mmtk.report.page import Making, anchored, render_page
from tests.capfilt.report.samples import (
    ListReader,
    ReaderPlan,
    failed_row,
    pair,
    picture,
    text_row,
    write_ledger,
    write_truth,
)
from tests.host.report.reading import HOSTILE, Page, check_harmless

RED = picture()


def explorer(
    folder: Path, rows: list[LedgerRow], images: dict[str, bytes | None] | None = None, **changes: Any
) -> ExplorerSection:
    plan: Any = ReaderPlan(ListReader(images or {}))
    settings = {"truth": None, "extras": None, "limit": 10_000, "title": "Explorer"} | changes
    return ExplorerSection(ledger=write_ledger(folder, rows), images=[plan], **settings)


def test_up_to_two_thousand_pictures_are_in_the_page(tmp_path: Path) -> None:
    section = explorer(tmp_path, [*pair("a", 0.1, 0.9), *pair("b", 0.9, 0.9)], {"b": RED})
    uri = f"data:image/png;base64,{base64.b64encode(RED).decode()}"
    assert section.data()["pictures"] == [(None, []), (uri, [])]
    assert list(section.files()) == []


def test_more_pictures_lie_beside_the_page(tmp_path: Path) -> None:
    keys = [f"k{number:05d}" for number in range(MOST_ON_PAGE + 1)]
    section = explorer(tmp_path, [text_row(key, "web", f"text of {key}", 0.9) for key in keys])
    data = section.data()
    assert data["pictures"] is None
    assert data["texts"]["text"][-1] == f"text of {keys[-1]}"
    assert len(list(section.files())) == -(-len(keys) // PER_PAGE)
    assert (
        list(explorer(tmp_path, [text_row(key, "web", "x", 0.9) for key in keys], limit=MOST_ON_PAGE).files())
        == []
    )


def test_images_that_failed_are_not_looked_for(tmp_path: Path) -> None:
    section = explorer(tmp_path, [failed_row("bad"), *pair("a", 0.9, 0.9)], {"bad": RED, "a": RED})
    assert [uri is not None for uri, _ in section.data()["pictures"]] == [False, True]


def test_the_page_says_how_many_of_how_many(tmp_path: Path) -> None:
    rows = [row for number in range(10) for row in pair(f"k{number}", 0.9, 0.9)]
    assert (
        Page(explorer(tmp_path, rows).html()).all("p")[0].text.startswith("10 pictures with all their texts.")
    )
    some = Page(explorer(tmp_path, rows, limit=5).html())
    assert some.all("p")[0].text.startswith(
        "5 of 10 pictures with all their texts, spread evenly over the ledger."
    )


def test_agreement_links_to_its_texts(tmp_path: Path) -> None:
    rows = [*pair("a", 0.1, 0.9), *pair("b", 0.9, 0.9), *pair("c", 0.9, 0.9)]
    truth = write_truth(tmp_path, {"a": "swap & <more>", "b": "swap & <more>", "c": None})
    page = Page(explorer(tmp_path, rows, truth=truth).html())
    cells = [e.text for e in page.elements if e.tag in ("th", "td")][5:]
    assert cells == [
        *("swap & <more>", "2", "1", "0.500", "1.000"),
        *("right", "1", "0", "", ""),
        *("All wrong texts", "2", "1", "0.500", "1.000"),
    ]
    assert [e.attributes["data-view"] for e in page.all("a")][:2] == [
        "source=web&noise=swap+%26+%3Cmore%3E", "source=web&noise=swap+%26+%3Cmore%3E&decision=dropped"
    ]  # fmt: skip
    assert not Page(explorer(tmp_path, rows).html()).all("table")


def test_an_empty_ledger_is_said(tmp_path: Path) -> None:
    page = Page(explorer(tmp_path, []).html())
    assert page.one("p", "empty").text == "The ledger is empty: there is nothing to explore."


def test_two_explorers_share_one_harmless_script(tmp_path: Path) -> None:
    rows = [text_row(HOSTILE, "web", HOSTILE, 0.1, HOSTILE), failed_row(f"x{HOSTILE}", HOSTILE)]
    section = explorer(tmp_path, rows, {HOSTILE: RED}, title=HOSTILE)
    page = Page(render_page("a", "", anchored([section, section]), Making({}, []), {}))
    check_harmless(page)
    assert ["".join(e.pieces) for e in page.all("script") if not e.attributes] == [explorer_script()]


def test_the_script_makes_no_markup_of_texts() -> None:
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
    ):
        assert way not in explorer_script()


def test_another_file_is_refused(tmp_path: Path) -> None:
    truth = write_truth(tmp_path, {"other": None})
    with pytest.raises(DataError, match="knows none of the ledger's images"):
        explorer(tmp_path, pair("a", 0.9, 0.9), truth=truth)
