import re
from pathlib import Path

import pytest
from mmtk_capfilt.ledger import funnel
from mmtk_capfilt.report.funnel import COUNTS, FunnelSection, funnel_steps, read_funnel

from mmtk.api import DataError
from tests.capfilt.report.samples import failed_row, ledger_table, pair, write_funnel
from tests.host.report.reading import Page, check_harmless


def page_of(path: Path) -> Page:
    page = Page(FunnelSection(funnel=path, title="Funnel").html())
    check_harmless(page)
    return page


def bars(page: Page) -> list[tuple[str, str, str]]:
    columns = [
        page.all(tag, name) for tag, name in (("span", "step"), ("strong", "total"), ("span", "pieces"))
    ]
    return [(a.text, b.text, c.text) for a, b, c in zip(*columns, strict=True)]


HUMAN = {"images": 4110, "candidates": 7188, "kept_human": 1020, "written": 4115}


def test_numbers_equal_the_counts(tmp_path: Path) -> None:
    assert bars(page_of(write_funnel(tmp_path, **HUMAN))) == [
        ("Images in", "4,110", "4,104 readable, 6 set aside"),
        ("Images captioned", "3,084", "3,084 with captions"),
        ("Candidate texts", "7,188", "3,084 from the web, 3,084 synthetic, 1,020 written by people"),
        ("Web texts filtered", "3,084", "1,662 kept, 1,422 dropped"),
        ("Synthetic texts filtered", "3,084", "1,433 kept, 1,651 dropped"),
        ("Bootstrapped pairs", "4,115", "1,662 web, 1,433 synthetic, 1,020 written by people"),
    ]


def test_without_human_pairs_the_bar_is_what_was_kept(tmp_path: Path) -> None:
    page = page_of(write_funnel(tmp_path))
    assert bars(page)[-1] == ("Bootstrapped pairs", "3,095", "1,662 web, 1,433 synthetic")
    assert "text by people" not in page.text
    assert "text by people" in page_of(write_funnel(tmp_path, kept_human=1)).text


def test_weights_are_told(tmp_path: Path) -> None:
    last = bars(page_of(write_funnel(tmp_path, **{**HUMAN, "written": 5135})))[-1]
    assert last[1] == "5,135"
    assert last[2].endswith("1,020 written by people; by their weights written as 5,135 pairs")


def test_texts_that_could_not_be_written_are_told(tmp_path: Path) -> None:
    page = page_of(write_funnel(tmp_path, dropped_web=1420, failed_web=2))
    assert bars(page)[3] == (
        "Web texts filtered", "3,084", "1,662 kept, 1,420 dropped, 2 not writable"
    )  # fmt: skip


def test_bars_are_on_one_scale(tmp_path: Path) -> None:
    page = page_of(write_funnel(tmp_path))
    widths = [
        float(e.attributes["style"].removeprefix("width: ").removesuffix("%"))
        for e in page.all("span", "piece")
    ]
    assert widths[0] == pytest.approx(100 * 3084 / 6168, abs=0.001)
    candidates = page.all("span", "piece")[3:5]
    assert sum(float(re.findall(r"[\d.]+", e.attributes["style"])[0]) for e in candidates) == pytest.approx(
        100
    )
    assert max(widths) <= 100


def test_headline_tells_the_story(tmp_path: Path) -> None:
    section = FunnelSection(funnel=write_funnel(tmp_path, **HUMAN), title="Funnel")
    assert section.headline() == (
        "Of 3,084 web texts, the filter kept 1,662 and dropped 1,422 (46%); of 3,084 captions the model "
        "wrote itself, it kept 1,433 and dropped 1,651 (54%). The bootstrapped set has 4,115 pairs."
    )


def test_without_captions(tmp_path: Path) -> None:
    path = write_funnel(tmp_path, captioned=0, candidates=3084, kept_synthetic=0, dropped_synthetic=0)
    assert "No synthetic captions were written" in page_of(path).one("p", "empty").text
    assert bars(page_of(path))[1] == ("Images captioned", "0", "none")
    assert "wrote itself" not in FunnelSection(funnel=path, title="Funnel").headline()


def test_nothing_at_all(tmp_path: Path) -> None:
    path = write_funnel(tmp_path, **dict.fromkeys(COUNTS, 0))
    section = FunnelSection(funnel=path, title="Funnel")
    assert section.headline() == ""
    assert Page(section.html()).one("p", "empty").text == "No images went in, so there is nothing to filter."


@pytest.mark.parametrize("changes", [{"images": None}, {"images": "many"}, {"images": -1}, {"images": 1.5}])
def test_another_file_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"funnel\.json: not the funnel of a pass: no count named images"):
        read_funnel(write_funnel(tmp_path, **changes))


def test_agrees_with_the_ledger_s_own_counts() -> None:
    rows = [*pair("a", 0.1, 0.9), *pair("b", 0.9, 0.9), failed_row("c")]
    counts = funnel(ledger_table(rows)) | {"written": 3}
    assert set(COUNTS) == counts.keys()
    steps = {step.label: step.number for step in funnel_steps(counts)}
    assert steps["Images in"] == 3
    assert steps["Candidate texts"] == len(rows) - 1
    assert steps["Bootstrapped pairs"] == 3


def test_style_is_plain_css(tmp_path: Path) -> None:
    css = FunnelSection(funnel=write_funnel(tmp_path), title="Funnel").css()
    assert css.count("{") == css.count("}") > 5
