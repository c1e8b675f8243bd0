"""The explorer in a real browser, opened as a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmtk_capfilt.ledger import ITC, ITM, LedgerRow
from mmtk_capfilt.report.explorer import MOST_ON_PAGE, ExplorerSection
from mmtk_capfilt.report.gradcam import Sight
from mmtk_capfilt.report.pictures import data_uri

from mmtk.api import render
from mmtk.report.stage import ReportStage
from tests.capfilt.report.browsing import WAIT, chromium, opened
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
from tests.host.report.test_stage import context

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, from the extra 'dev'")
expect = sync_api.expect
ANCHOR = "explorer"
RED = picture()
HARM = "window.harmed = 1"
ATTACKS = [
    f"<script>{HARM}</script>",
    f"</script><script>{HARM}</script>",
    f'"><img src=x onerror="{HARM}">',
    f"' onmouseover='{HARM}",
    f"javascript:{HARM}",
    f'</style></title></select><svg onload="{HARM}">',
    f"${{{HARM}}} {{{{7*7}}}} \u2028{HARM}//",
]


class Plan:
    """A blueprint of an explorer."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def build(self, **_: Any) -> ExplorerSection:
        return ExplorerSection(**self.settings)


def write_report(folder: Path, rows: list[LedgerRow], **changes: Any) -> str:
    """Write a report of an explorer alone and return its address."""
    images: Any = ReaderPlan(ListReader(dict.fromkeys((row.key for row in rows), RED)))
    settings = {"truth": None, "extras": None, "limit": 10_000, "title": "Explorer"} | changes
    plan: Any = Plan(ledger=write_ledger(folder, rows), images=[images], **settings)
    ReportStage(sections=[plan]).run(context(folder / "report"))
    return (folder / "report" / "report.html").as_uri()


def write_extras(folder: Path, key: str, label: str) -> Path:
    path = folder / "extras.parquet"
    pq.write_table(pa.table({"key": [key], "label": [label], "picture": [picture("blue")]}), path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Thirty pictures, k00 to k29: web texts scored 0.02, 0.05, … and captions scored 0.91, 0.88, …"""
    folder = tmp_path_factory.mktemp("explorer")
    rows = [row for n in range(30) for row in pair(f"k{n:02d}", 0.02 + 0.03 * n, 0.91 - 0.03 * n)]
    rows = [replace(row, scored_by="itm_filter:abc123") for row in rows]
    rows.append(text_row("k00", "web", "a second, Lively text", None, "1 words, fewer than 2"))
    rows.append(failed_row("bad", "unreadable"))
    truth = write_truth(folder, {f"k{n:02d}": "swap" if n < 10 else None for n in range(30)})
    return write_report(folder, rows, truth=truth, extras=write_extras(folder, "k02", "where it looks"))


def check_status(page: Page, text: str) -> None:
    expect(page.locator("[data-part=status]")).to_have_text(text, timeout=WAIT)


def cards(page: Page) -> list[str]:
    return page.locator(".x-card .x-key").all_text_contents()


def check_cards(page: Page, keys: list[str]) -> None:
    expect(page.locator(".x-card .x-key")).to_have_text(keys, timeout=WAIT)


def check_url(page: Page, end: str) -> None:
    """An address in the page changes at once, but the driver hears of it a little later."""
    expect(page).to_have_url(re.compile(f"{re.escape(end)}$"), timeout=WAIT)


def chip(page: Page, name: str) -> Locator:
    return page.locator(".x-chips label", has_text=name).first


def test_filters_narrow_down_with_live_counts(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        check_status(page, "62 of 62 texts, on 31 of 31 pictures")
        chip(page, "dropped").click()
        check_status(page, "33 of 62 texts, on 30 of 31 pictures")
        chip(page, "web").click()
        check_status(page, "17 of 62 texts, on 16 of 31 pictures")
        expect(chip(page, "swap")).to_have_text(
            "swap 11", timeout=WAIT
        )  # ten wrong texts and the second one of k00
        chip(page, "right").click()
        check_status(page, "6 of 62 texts, on 6 of 31 pictures")
        check_cards(page, [f"k{n}" for n in range(10, 16)])
        check_url(page, f"#{ANCHOR}?decision=dropped&source=web&noise=right")
        page.get_by_role("button", name="Show all").click()
        check_status(page, "62 of 62 texts, on 31 of 31 pictures")


def test_search_finds_words_in_texts_and_keys(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        box = page.get_by_label("Search in texts and keys")
        box.fill("LIVELY second")
        check_status(page, "1 of 62 texts, on 1 of 31 pictures")
        check_cards(page, ["k00"])
        expect(page.locator(".x-text:not(.unmatched)")).to_have_count(1, timeout=WAIT)
        box.fill("synthetic k07")
        check_cards(page, ["k07"])
        box.fill("nothing of the kind")
        check_status(page, "0 of 62 texts, on 0 of 31 pictures")


def test_reasons_scores_and_order(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.get_by_text("By reason or score").click()
        page.get_by_label("Reason").select_option(label="1 words, fewer than 2 (1)")
        check_cards(page, ["k00"])
        page.get_by_label("Reason").select_option(label="any (62)")
        page.get_by_label("ITM probability, from").fill("0.8")
        page.get_by_label("ITM probability, below").fill("0.9")
        check_status(page, "7 of 62 texts, on 7 of 31 pictures")
        page.get_by_label("ITM probability, below").fill("")
        page.get_by_label("Order").select_option(label="ITM probability, highest first")
        assert cards(page)[:3] == ["k00", "k29", "k01"]
        page.get_by_label("ITM probability, from").fill("")
        page.get_by_label("Order").select_option(label="ITM probability, lowest first")
        assert cards(page)[:2] == ["k00", "k29"]
        assert cards(page)[-1] == "bad"  # without a score
        again = page.evaluate("location.href")
    with opened(browser, again) as page:
        assert page.get_by_label("Order").input_value() == f"score.{ITM}:asc"
        assert cards(page)[:2] == ["k00", "k29"]


def test_bars_and_figures_link_to_their_texts(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        chart = page.get_by_role("group", name="ITM probability, web texts")
        bar = chart.get_by_role("link", name="ITM probability from 0 to 0.05: 1 dropped web text")
        bar.click()
        check_status(page, "1 of 62 texts, on 1 of 31 pictures")
        check_cards(page, ["k00"])
        assert bar.get_attribute("aria-current") == "true"
        bar.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        check_status(page, "2 of 62 texts, on 2 of 31 pictures")
        check_cards(page, ["k01", "k02"])  # 0.05 and 0.08
        page.go_back()
        check_status(page, "1 of 62 texts, on 1 of 31 pictures")
        page.get_by_role("row", name="right").get_by_role("link", name="right").click()
        check_status(page, "20 of 62 texts, on 20 of 31 pictures")


def test_every_bar_has_as_many_texts_as_it_says(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        bars = page.locator(".x-bin").all()
        assert len(bars) > 20
        for bar in bars:
            number = (bar.get_attribute("aria-label") or "").partition(": ")[2].split()[0]
            bar.evaluate("bar => { location.hash = bar.getAttribute('href') }")
            expect(bar).to_have_attribute("aria-current", "true", timeout=WAIT)
            assert page.locator("[data-part=status]").inner_text().startswith(f"{number} of 62 ")


def test_the_dialog_by_keyboard(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.locator(".x-card a").nth(1).focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        dialog.wait_for()
        expect(dialog.locator("h3")).to_have_text("k01", timeout=WAIT)
        expect(dialog.locator(".x-steps p")).to_have_text("2 of 31", timeout=WAIT)
        check_url(page, "image=k01")
        page.keyboard.press("ArrowRight")
        dialog.locator(".x-extras img").wait_for()
        expect(dialog.locator(".x-extras figcaption")).to_have_text("where it looks", timeout=WAIT)
        expect(dialog.locator("h3")).to_have_text("k02", timeout=WAIT)
        web = dialog.locator("article").first
        assert web.locator(".x-verdict").text_content() == "web ✕ dropped"
        facts = dict(
            zip(web.locator("dt").all_text_contents(), web.locator("dd").all_text_contents(), strict=True)
        )
        assert facts == {
            "ITM probability": "0.080",
            "ITC similarity": "0.040",
            "reason": "itm_probability below 0.5",
            "step": "itm_filter",
            "can come back": "with another threshold",
            "known noise": "swap",
            "scored by": "itm_filter:abc123",
        }
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
        expect(dialog.locator("h3")).to_have_text("k00", timeout=WAIT)  # nothing before it
        expect(dialog.locator("article")).to_have_count(3, timeout=WAIT)
        page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
        expect(page.locator(".x-card a").first).to_be_focused(timeout=WAIT)
        expect(page).not_to_have_url(re.compile("image="), timeout=WAIT)


def test_an_address_leads_to_its_picture(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#{ANCHOR}?source=synthetic&decision=kept&image=k03") as page:
        dialog = page.get_by_role("dialog")
        expect(dialog.locator("h3")).to_have_text("k03", timeout=WAIT)
        expect(dialog.locator(".x-steps p")).to_have_text("4 of 14", timeout=WAIT)
        dialog.get_by_role("button", name="Close").click()
        check_status(page, "14 of 62 texts, on 14 of 31 pictures")
    with opened(browser, f"{address}#{ANCHOR}?image=unknown&source=none") as page:
        check_status(page, "0 of 62 texts, on 0 of 31 pictures")
        expect(page.get_by_role("dialog")).to_have_count(0, timeout=WAIT)


def test_nothing_from_data_runs(browser: Browser, tmp_path: Path) -> None:
    rows = []
    for place, attack in enumerate(ATTACKS):
        key = f"{place} {attack}"
        scores = {ITM: 0.1 * place, ITC: 0.5}
        for source in ("web", attack):
            row = replace(text_row(key, source, attack, 0.1, attack), scores=scores, shard=attack)
            rows.append(replace(row, step=attack, written_by=attack, scored_by=attack))
        rows.append(failed_row(f"failed {key}", attack))
    truth = write_truth(tmp_path, {row.key: row.text for row in rows})
    extras = write_extras(tmp_path, rows[0].key, ATTACKS[2])
    url = write_report(tmp_path, rows, truth=truth, extras=extras)
    with opened(browser, f"{url}#{ANCHOR}?query={quote(ATTACKS[2])}&source={quote(ATTACKS[0])}") as page:
        check_status(page, "0 of 21 texts, on 0 of 14 pictures")
        page.get_by_role("button", name="Show all").click()
        assert set(ATTACKS) <= set(page.locator(".x-card .x-words").all_text_contents())
        page.locator(".x-card a").first.click()
        page.get_by_role("dialog").locator(".x-extras img").wait_for()
        expect(page.locator(".x-extras figcaption")).to_have_text(ATTACKS[2], timeout=WAIT)
        for _ in rows:
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Escape")
        page.get_by_role("row", name="javascript:").get_by_role("link").first.click()
        check_status(page, "1 of 21 texts, on 1 of 14 pictures")
        assert page.evaluate("window.harmed") is None
        assert page.locator("[src=x], .explorer script, [onerror], [onload], [onmouseover]").count() == 0


def test_the_policy_stops_what_markup_would_run(browser: Browser, address: str) -> None:
    insert = """() => new Promise((done) => {
        document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective));
        document.body.insertAdjacentHTML("beforeend", `<a href="#" onclick="window.harmed = 1">x</a>`);
        document.body.lastChild.click();
    })"""
    with pytest.raises(AssertionError, match="Content Security Policy"), opened(browser, address) as page:
        assert page.evaluate(insert) == "script-src-attr"
        assert page.evaluate("window.harmed") is None


def test_thousands_of_pictures_come_from_files_beside(browser: Browser, tmp_path: Path) -> None:
    keys = [f"k{number:05d}" for number in range(MOST_ON_PAGE + 10)]
    url = write_report(tmp_path, [text_row(key, "web", f"text of {key}", 0.9) for key in keys])
    assert len(list((tmp_path / "report" / "report_files" / "report" / ANCHOR).iterdir())) == 41
    with opened(browser, url) as page:
        page.locator(".x-card img").first.wait_for(state="attached")
        expect(page.locator(".x-card")).to_have_count(48, timeout=WAIT)
        page.get_by_role("button", name="Show 48 more of 1,962").click()
        assert page.evaluate("document.activeElement.textContent") == keys[48]
        page.get_by_label("Search in texts and keys").fill(keys[-1])
        check_status(page, "1 of 2,010 texts, on 1 of 2,010 pictures")
        page.locator(".x-card img").wait_for()
        expect(page.locator("head script[src]")).to_have_count(0, timeout=WAIT)


def test_two_explorers_on_a_page_are_on_their_own(browser: Browser, tmp_path: Path) -> None:
    plans: list[Any] = []
    for name, rows in (("one", pair("a", 0.1, 0.9)), ("two", [*pair("b", 0.2, 0.9), *pair("zoo", 0.9, 0.9)])):
        (tmp_path / name).mkdir()
        settings = {"truth": None, "extras": None, "limit": 10, "title": "Explorer", "images": []}
        plans.append(Plan(ledger=write_ledger(tmp_path / name, rows), **settings))
    ReportStage(sections=plans).run(context(tmp_path / "report"))
    with opened(browser, (tmp_path / "report" / "report.html").as_uri()) as page:
        one, two = (page.locator(f"#{anchor} .x-card .x-key") for anchor in ("explorer", "explorer-2"))
        page.locator("#explorer-2").get_by_label("Search in texts and keys").fill("zoo")
        expect(two).to_have_text(["zoo"], timeout=WAIT)
        expect(one).to_have_text(["a"], timeout=WAIT)
        page.locator("#explorer .x-bin").first.click()
        expect(page.locator("#explorer .x-text:not(.unmatched)")).to_have_count(1, timeout=WAIT)
        expect(two).to_have_text(["zoo"], timeout=WAIT)


class Words:
    """The section ``gradcam`` with pictures and no words, without a model."""

    title = "Words"

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def css(self) -> str:
        return render("mmtk_capfilt.report", "gradcam.css")

    def html(self) -> str:
        sights = [Sight(key, str(data_uri(RED)), []) for key in self.keys]
        figures = {"judged": 1, "other_scores": 0, "scores": 0, "grid": None, "name": "gradcam-1"}
        return render("mmtk_capfilt.report", "gradcam.html", sights=sights, **figures)

    def build(self, **_: Any) -> Words:
        return self


def test_a_picture_leads_to_its_words_and_back(browser: Browser, tmp_path: Path) -> None:
    odd = 'k"5 <b>?&=#%'
    rows = [*(row for n in range(40) for row in pair(f"k{n:02d}", 0.1, 0.9)), *pair(odd, 0.1, 0.9)]
    images: Any = ReaderPlan(ListReader(dict.fromkeys((row.key for row in rows), RED)))
    settings = {"truth": None, "extras": None, "limit": 100, "title": "Explorer", "images": [images]}
    plans: list[Any] = [Words("k03", odd, "unknown"), Plan(ledger=write_ledger(tmp_path, rows), **settings)]
    ReportStage(sections=plans).run(context(tmp_path / "report"))
    address = (tmp_path / "report" / "report.html").as_uri()
    for key, place in (("k03", 0), (odd, 1)):
        with opened(browser, f"{address}#{ANCHOR}?image={quote(key, safe='')}") as page:
            dialog, sight = page.get_by_role("dialog"), page.locator(".sight").nth(place)
            dialog.get_by_role("link", name="Where the filter sees the words").click()
            dialog.wait_for(state="hidden")
            expect(sight).to_be_focused(timeout=WAIT)
            expect(sight).to_be_in_viewport(timeout=WAIT)
            expect(page).to_have_url(f"{address}#gradcam-1-{place + 1}", timeout=WAIT)
            sight.get_by_role("link", name="All its texts and scores").click()
            dialog.wait_for()
            expect(dialog.locator("h3")).to_have_text(key, timeout=WAIT)
            dialog.get_by_role("button", name="Close").click()
            dialog.wait_for(state="hidden")
            expect(page).to_have_url(f"{address}#{ANCHOR}", timeout=WAIT)
            page.go_back()
            page.go_back()
            dialog.wait_for()
    with opened(browser, f"{address}#{ANCHOR}?image=k04") as page:
        expect(page.get_by_role("dialog").get_by_role("link")).to_have_count(0, timeout=WAIT)
        expect(page.locator(".sight").nth(2).get_by_role("link")).to_have_count(0, timeout=WAIT)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_sideways_scrolling(browser: Browser, address: str, scheme: str) -> None:
    phone = {"width": 360, "height": 740}
    with opened(browser, address, viewport=phone, color_scheme=scheme) as page:
        page.get_by_text("By reason or score").click()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.locator(".scroll").evaluate("table => table.scrollWidth <= table.clientWidth")
        page.locator(".x-card a").first.click()
        dialog = page.get_by_role("dialog")
        box = dialog.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert dialog.evaluate("element => element.scrollWidth <= element.clientWidth")
        ink, paper = (
            sum(map(int, dialog.evaluate(f"one => getComputedStyle(one).{name}")[4:-1].split(",")))
            for name in ("color", "backgroundColor")
        )
        assert (ink > paper) is (scheme == "dark")
