import json
from pathlib import Path

import pytest

from mmtk.errors import DataError
from mmtk.report.metric_table import Column, MetricTable, columns_of, compared, read_metrics
from mmtk.report.wording import DASH, MINUS
from tests.host.report.reading import HOSTILE, Page, check_harmless

BEFORE = {
    "retrieval/text_to_image/r1": 0.41,
    "retrieval/image_to_text/r1": 0.43,
    "captions/cider": 1.02,
    "images": 447.0,
}
AFTER = {
    "retrieval/text_to_image/r1": 0.508,
    "retrieval/image_to_text/r1": 0.40,
    "captions/cider": None,
    "images": 440,
}


def table(
    folder: Path,
    rows: dict[str, object],
    metrics: dict[str, str] | None = None,
    lower: tuple[str, ...] = (),
    title: str = "Results on test",
    description: str = "",
) -> MetricTable:
    paths = {}
    for number, (name, content) in enumerate(rows.items()):
        paths[name] = folder / f"{number}.json"
        paths[name].write_text(json.dumps(content))
    return MetricTable(
        rows=paths, title=title, description=description, metrics=metrics or {}, lower_is_better=lower
    )


def cells(page: Page) -> list[list[str]]:
    count = len(page.all("thead")[0].pieces) and len(
        [e for e in page.all("th") if e.attributes.get("scope") == "col"]
    )
    values = [element.text for element in page.all("td") if "data-label" in element.attributes]
    return [values[start : start + count - 1] for start in range(0, len(values), count - 1)]


def test_values_and_differences_equal_the_inputs(tmp_path: Path) -> None:
    page = Page(table(tmp_path, {"noisy": BEFORE, "bootstrapped": AFTER}).html())
    assert cells(page) == [
        ["0.410", "0.430", "1.020", "447"],
        [
            "0.508 +0.098 (better) +24%",
            f"0.400 {MINUS}0.030 (worse) {MINUS}7%",
            DASH,
            f"440 {MINUS}7 {MINUS}2%",
        ],
    ]
    assert [element.text for element in page.all("th") if element.attributes.get("scope") == "row"] == [
        "noisy",
        "bootstrapped",
    ]


def test_verdicts_and_the_best_value(tmp_path: Path) -> None:
    page = Page(table(tmp_path, {"noisy": BEFORE, "bootstrapped": AFTER}).html())
    assert [element.text for element in page.all("span", "best")] == ["0.430", "0.508"]
    assert page.one("span", "better").text == "+0.098 (better)"
    assert page.one("span", "worse").text == f"{MINUS}0.030 (worse)"


def test_lower_may_be_better(tmp_path: Path) -> None:
    page = Page(table(tmp_path, {"a": {"wrong": 0.45}, "b": {"wrong": 0.12}}, lower=("wrong",)).html())
    assert page.one("span", "best").text == "0.120"
    assert page.one("span", "better").text == f"{MINUS}0.330 (better)"


def test_headers_have_groups_and_labels(tmp_path: Path) -> None:
    page = Page(table(tmp_path, {"noisy": BEFORE}).html())
    assert [element.text for element in page.all("th", "group")] == [
        "Retrieval, text → image",
        "Retrieval, image → text",
        "Captions",
    ]
    headers = [element.text for element in page.all("th") if element.attributes.get("scope") == "col"]
    assert headers == ["Evaluation", "R@1", "R@1", "CIDEr", "Images"]


def test_group_widths_cover_the_columns() -> None:
    rows = [{"a/r1": 0.1, "b": 0.2, "a/r5": 0.3}]
    assert [(c.group, c.label) for c in columns_of(rows, {}, ())] == [("A", "R@1"), ("A", "R@5"), ("", "B")]


def test_chosen_metrics_in_their_order_with_their_labels(tmp_path: Path) -> None:
    chosen = {"captions/cider": "CIDEr (captions)", "retrieval/text_to_image/r1": "", "absent": "Absent"}
    page = Page(table(tmp_path, {"noisy": BEFORE, "none": {}}, metrics=chosen).html())
    headers = [element.text for element in page.all("th") if element.attributes.get("scope") == "col"]
    assert headers == ["Evaluation", "CIDEr (captions)", "R@1", "Absent"]
    assert cells(page) == [["1.020", "0.410", DASH], [DASH, DASH, DASH]]


def test_headline(tmp_path: Path) -> None:
    rows = {"noisy": BEFORE, "bootstrapped": AFTER}
    assert table(tmp_path, rows).headline() == (
        "Results on test: R@1 (Retrieval, text → image) of 0.410 (noisy) became 0.508 (bootstrapped), +24%."
    )
    assert table(tmp_path, {"noisy": BEFORE}).headline() == ""
    assert table(tmp_path, {"a": {"n": 3}, "b": {"n": 4}}).headline() == ""


def test_equal_values_have_no_verdict() -> None:
    cell = compared(Column("a", "", "A"), 0.5, 0.5)
    assert (cell.difference, cell.relative, cell.verdict) == ("+0.000", "", "same")
    assert compared(Column("a", "", "A"), 0.50001, 0.5).verdict == "same"


def test_a_baseline_of_zero_has_no_share() -> None:
    cell = compared(Column("a", "", "A"), 0.5, 0.0)
    assert (cell.difference, cell.relative, cell.verdict) == ("+0.500", "", "better")


def test_reads_nested_and_odd_values(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(
        '{"a": {"b": 1.5, "c": NaN}, "d": null, "e": "text", "f": true, "g": [1], "h": 3084.0, "i": 1.0}'
    )
    found = read_metrics(path)
    assert found == {"a/b": 1.5, "a/c": None, "d": None, "h": 3084, "i": 1.0}
    assert isinstance(found["h"], int)
    assert isinstance(found["i"], float)


def test_a_training_log_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl: expected an evaluation's metrics"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [({}, "no evaluation is listed"), ({"a": {}}, "the evaluations wrote no numbers")],
)
def test_nothing_to_show_is_said(tmp_path: Path, rows: dict[str, object], sentence: str) -> None:
    page = Page(table(tmp_path, rows).html())
    assert sentence in page.one("p", "empty").text
    assert not page.all("table")


def test_everything_is_escaped(tmp_path: Path) -> None:
    rows = {HOSTILE: {HOSTILE.replace("/", ""): 0.5}, "b": {HOSTILE.replace("/", ""): 0.6}}
    page = Page(table(tmp_path, rows, title=HOSTILE, description=HOSTILE).html())
    check_harmless(page)
    assert page.all("p")[0].text == HOSTILE
    assert page.one("table").attributes["aria-label"] == HOSTILE
    assert HOSTILE in [element.text for element in page.all("th")]
