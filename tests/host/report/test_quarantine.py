import json
from pathlib import Path

from mmtk.report.quarantine import QuarantineSection, read_quarantine
from tests.host.report.reading import HOSTILE, Page, check_harmless


def write(path: Path, *entries: tuple[str, str, str]) -> Path:
    lines = (json.dumps(dict(zip(("key", "reason", "location"), entry, strict=True))) for entry in entries)
    path.write_text("".join(line + "\n" for line in lines))
    return path


def page_of(first: int = 20, **files: Path) -> Page:
    page = Page(QuarantineSection(files=files, title="Set aside", first=first).html())
    check_harmless(page)
    return page


def test_counts_by_kind_of_reason_most_frequent_first(tmp_path: Path) -> None:
    path = write(
        tmp_path / "q.jsonl",
        ("a", "empty text", "x.tar"),
        ("b", "image too small: 1x1 pixels", "x.tar"),
        ("c", "image too small: 2x2 pixels", "x.tar"),
    )
    page = page_of(train=path)
    assert [e.text for e in page.all("td")] == ["image too small", "2", "empty text", "1", "3"]
    assert page.one("h3").text == "train"
    assert [e.text for e in page.all("li")] == [
        "a empty text x.tar",
        "b image too small: 1x1 pixels x.tar",
        "c image too small: 2x2 pixels x.tar",
    ]
    assert page.one("summary").text == "All of them, one by one"


def test_only_the_first_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", *((f"k{number}", "empty text", "") for number in range(2000)))
    page = page_of(first=3, train=path)
    assert [e.text for e in page.all("li")] == [f"k{number} empty text" for number in range(3)]
    assert page.one("summary").text == "The first 3, one by one"
    assert [e.text for e in page.all("td")] == ["empty text", "2,000", "2,000"]
    assert not page_of(first=0, train=path).all("details")


def test_rare_reasons_are_summed_up(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", *((f"k{n}", f"reason {n:02d}", "") for n in range(15)))
    texts = [e.text for e in page_of(train=path).all("td")]
    assert texts[-3:] == ["3 other reasons", "3", "15"]
    assert len(texts) == 2 * 12 + 3


def test_empty_files_are_said(tmp_path: Path) -> None:
    empty = write(tmp_path / "e.jsonl")
    assert page_of(train=empty).one("p", "empty").text == "No sample was set aside: every one could be used."
    assert page_of().all("p", "empty")
    both = page_of(train=empty, merge=write(tmp_path / "q.jsonl", ("a", "empty text", "")))
    assert both.one("p", "note").text == "None."
    assert [e.text for e in both.all("h3")] == ["train", "merge"]


def test_entries_without_reason_or_location(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"key": 7}\n{"key": "b", "reason": null, "location": null}\n')
    assert [(e.key, e.reason, e.location) for e in read_quarantine(path)] == [
        ("7", "no reason given", ""),
        ("b", "no reason given", ""),
    ]


def test_hostile_and_broken_texts(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    entry = {"key": HOSTILE, "reason": f"{HOSTILE}\x00", "location": "שלום" + "x" * 5000}
    path.write_text(json.dumps(entry) + '\n{"key": "\\ud800", "reason": "lone surrogate"}\n')
    page = page_of(**{HOSTILE: path})
    assert page.one("h3").text == HOSTILE
    assert page.all("code")[0].text == HOSTILE
    assert "(5,004 characters)" in page.all("li")[0].text
    assert page.all("code")[1].text == "\ufffd"
