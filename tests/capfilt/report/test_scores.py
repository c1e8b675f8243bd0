from pathlib import Path

import numpy as np
import pytest
from mmtk_capfilt.report.scores import BINS, ScoresSection, histogram, scores_of, threshold_of

from tests.capfilt.report.samples import failed_row, ledger_table, pair, text_row, write_ledger
from tests.host.report.reading import Page, check_harmless


def page_of(folder: Path, *rows: object) -> Page:
    page = Page(ScoresSection(ledger=write_ledger(folder, rows), title="Scores").html())  # type: ignore[arg-type]
    check_harmless(page)
    return page


def test_one_histogram_per_source_with_its_figures(tmp_path: Path) -> None:
    rows = [*pair("a", 0.1, 0.9), *pair("b", 0.2, 0.8), *pair("c", 0.9, 0.7), *pair("d", 0.3, 0.6)]
    page = page_of(tmp_path, *rows, failed_row("x"))
    assert [e.text for e in page.all("figcaption")] == [
        "Web texts (4)75% below the threshold 0.5, median 0.25",
        "Synthetic texts (4)median 0.75",
    ]
    assert "Texts below the dashed line are dropped" in page.text
    assert all(
        "stroke-dasharray" in e.attributes["style"] for e in page.all("path") if "5.6" in str(e.attributes)
    )
    assert (
        page.all("svg")[0].attributes["aria-label"].startswith("Web texts: histogram of 4 ITM probabilities")
    )


def test_texts_without_a_score_are_not_counted(tmp_path: Path) -> None:
    page = page_of(tmp_path, text_row("a", "web", "", None, "empty text"), text_row("b", "web", "x", 0.75))
    assert page.one("figcaption").text.startswith("Web texts (1)")
    assert "where there is none, no text was dropped because of its score." in page.text
    assert not any("stroke-dasharray" in e.attributes.get("style", "") for e in page.all("path"))


@pytest.mark.parametrize("rows", [[], [failed_row("a")], [text_row("a", "web", "", None, "empty text")]])
def test_no_scores_are_said(tmp_path: Path, rows: list[object]) -> None:
    assert (
        page_of(tmp_path, *rows).one("p", "empty").text
        == "No text was scored, so there are no scores to show."
    )


def test_histogram_counts_every_score_once() -> None:
    scores = np.array([0.0, 0.039, 0.5, 0.999, 1.0], dtype=np.float32)
    numbers = histogram(scores)
    assert len(numbers) == BINS
    assert numbers.sum() == len(scores)
    assert (numbers[0], numbers[-1]) == (2, 2)


def test_scores_by_source() -> None:
    table = ledger_table([*pair("a", 0.25, 0.75), failed_row("b")])
    assert scores_of(table, "web").tolist() == [0.25]
    assert scores_of(table, "synthetic").tolist() == [0.75]


@pytest.mark.parametrize(
    ("reason", "threshold"),
    [
        ("itm_probability below 0.5", 0.5),
        ("itm_probability below 1e-05", 1e-05),
        ("itm_probability below 1", 1.0),
        ("same as the web text", None),
        ("", None),
    ],
)
def test_threshold_is_read_from_the_reasons(reason: str, threshold: float | None) -> None:
    table = ledger_table([text_row("a", "web", "text", 0.9), text_row("b", "web", "text", 0.9, reason)])
    assert threshold_of(table, "web") == threshold


def test_each_source_has_the_threshold_of_its_own_reasons() -> None:
    rows = [
        text_row("a", "web", "text", 0.1, "itm_probability below 0.2"),
        text_row("a", "synthetic", "text", 0.1, "itm_probability below 0.8"),
    ]
    assert [threshold_of(ledger_table(rows), source) for source in ("web", "synthetic")] == [0.2, 0.8]
