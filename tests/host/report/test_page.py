import json
from dataclasses import dataclass

from mmtk.report.history import StageTime
from mmtk.report.page import Making, anchored, render_page
from mmtk.report.wording import DASH
from tests.host.report.reading import HOSTILE, Page, check_harmless, may_run, policy_of

MAKING = Making({"mmtk": "0.1.0", "Seed": "7"}, [StageTime("pretrain", 98.0), StageTime("old", None)])


@dataclass
class Section:
    title: str = "Results"
    body: str = "<p>body</p>"

    def html(self) -> str:
        return self.body


@dataclass
class Lively(Section):
    code: str = "document.title = 'alive' && 1 < 2"
    known: object = None

    def script(self) -> str:
        return self.code

    def data(self) -> object:
        return self.known


@dataclass
class Talkative(Section):
    line: str = "It worked."
    rules: str = ".mine { color: inherit; }"

    def headline(self) -> str:
        return self.line

    def css(self) -> str:
        return self.rules


def page_of(*sections: Section, title: str = "quickstart", description: str = "") -> Page:
    page = Page(render_page(title, description, anchored(sections), MAKING, {}))
    check_harmless(page)
    return page


def test_title_description_and_sections_in_order() -> None:
    page = page_of(Section("First"), Section("Second"), description="What it is about.")
    assert page.one("h1").text == "quickstart"
    assert page.one("title").text == f"quickstart {DASH} mmtk report"
    assert page.one("p", "description").text == "What it is about."
    assert [e.text for e in page.all("h2")] == ["First", "Second", "How it was made"]
    assert not page_of(Section()).all("p", "description")


def test_a_newcomer_s_browser_needs_no_script_and_no_network() -> None:
    assert policy_of(page_of(Section())) == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )


def test_readable_on_a_phone_and_in_the_dark() -> None:
    page = page_of(Section())
    metas = {
        e.attributes["name"]: e.attributes["content"] for e in page.all("meta") if "name" in e.attributes
    }
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert metas["color-scheme"] == "light dark"
    assert "prefers-color-scheme: dark" in page.one("style").text
    assert page.one("html").attributes["lang"] == "en"


def test_navigation_leads_to_every_section_even_if_titles_repeat() -> None:
    page = page_of(
        Section("Results"), Section("Results"), Section("≠"), Section("How it was made"), Section("Content")
    )
    targets = {e.attributes["href"].removeprefix("#") for e in page.all("a")}
    ids = {e.attributes["id"] for e in page.elements if "id" in e.attributes}
    assert targets <= ids
    assert len(page.all("section")) == 6
    assert {e.attributes["id"] for e in page.all("section")} <= targets
    for section in page.all("section"):
        assert section.attributes["aria-labelledby"] in ids


def test_headlines_and_styles_of_sections_that_have_them() -> None:
    page = page_of(Section(), Talkative(), Talkative(line=""), Talkative(line="Twice."))
    assert [e.text for e in page.all("li")[:2]] == ["It worked.", "Twice."]
    assert page.one("style").text.count(".mine") == 1
    assert not page_of(Section()).all("ul", "headlines")


def test_html_of_a_section_is_taken_as_it_is() -> None:
    assert page_of(Section(body="<p class='x'>5 &lt; 6</p>")).one("p", "x").text == "5 < 6"


def test_plain_texts_are_escaped() -> None:
    page = page_of(Talkative(title=HOSTILE, line=HOSTILE), title=HOSTILE, description=HOSTILE)
    assert page.one("h1").text == HOSTILE
    assert page.all("h2")[0].text == HOSTILE
    assert page.one("p", "description").text == HOSTILE
    assert page.all("li")[0].text == HOSTILE


def test_how_it_was_made() -> None:
    page = page_of(Section())
    assert [e.text for e in page.all("dd")] == ["0.1.0", "7"]
    assert [e.text for e in page.all("td")] == ["1 min 38 s", DASH, "1 min 38 s"]
    untimed = Page(render_page("a", "", {"a": Section()}, Making({}, []), {}))
    assert not untimed.all("table")


def test_no_sections() -> None:
    assert "no sections" in page_of().one("p", "empty").text


def test_a_section_s_script_runs_once_and_no_other_may() -> None:
    page = page_of(Lively("One"), Lively("Two"), Lively("Three", code="more()"), Section("Four"))
    scripts = [e for e in page.all("script") if not e.attributes]
    assert ["".join(e.pieces) for e in scripts] == [Lively().code, "more()"]
    assert all(may_run(e, policy_of(page)) for e in scripts)
    assert "unsafe-inline" not in policy_of(page).partition("script-src")[2]


def test_data_lies_in_its_own_section_and_ends_nothing() -> None:
    known = {
        "texts": [HOSTILE, "</SCRIPT><!--", "\u2028\u2029\x00\ud800", "שלום"],
        "score": 0.5,
        "none": None,
    }
    page = page_of(Lively("One", known=known), Lively("Two", known=[2]))
    data = [e for e in page.elements if "section-data" in e.classes]
    assert [json.loads("".join(e.pieces)) for e in data] == [known, [2]]
    assert "<" not in "".join(data[0].pieces)
    one = page.all("section")[0]
    assert "".join(data[0].pieces) in "".join(one.pieces)


def test_files_are_told_to_their_section_and_allow_its_script_to_add_some() -> None:
    sections = anchored([Lively("One"), Lively("Two")])
    page = Page(render_page("a", "", sections, MAKING, {"two": "report_files/report/two/"}))
    assert [e.attributes.get("data-files") for e in page.all("section")[:2]] == [
        None, "report_files/report/two/"
    ]  # fmt: skip
    assert policy_of(page).endswith("'strict-dynamic'")
    assert "strict-dynamic" not in policy_of(page_of(Lively()))
