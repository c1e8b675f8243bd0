import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmtk_capfilt.report.explorer_pages import PER_PAGE, picture_pages, read_extras, shown
from mmtk_capfilt.report.pictures import data_uri, each_picture

from mmtk.api import DataError
from tests.capfilt.report.samples import ListReader, picture
from tests.host.report.reading import HOSTILE

RED, BLUE = picture("red"), picture("blue")


def pictures_in(content: bytes) -> list[list[object]]:
    match = re.fullmatch(r"document\.currentScript\.pictures = (.*);\n", content.decode())
    assert match
    return json.loads(match[1])  # type: ignore[no-any-return]


def test_pages_have_their_images_in_order_whatever_comes_first() -> None:
    keys = [f"k{number}" for number in range(PER_PAGE + 2)]
    found = {key: BLUE if key == "k1" else RED for key in reversed(keys)}
    pages = dict(picture_pages(keys, found.items(), {}))
    assert list(pages) == ["page-0002.js", "page-0001.js"]
    first, second = pictures_in(pages["page-0001.js"]), pictures_in(pages["page-0002.js"])
    assert (len(first), len(second)) == (PER_PAGE, 2)
    assert [first[1], first[2]] == [[data_uri(BLUE), []], [data_uri(RED), []]]


def test_a_page_is_written_before_later_pictures_are_read() -> None:
    keys = [f"k{number}" for number in range(2 * PER_PAGE)]
    read: list[str] = []

    def found() -> Iterator[tuple[str, bytes]]:
        for key in keys:
            read.append(key)
            yield key, RED

    assert next(picture_pages(keys, found(), {}))[0] == "page-0001.js"
    assert len(read) == PER_PAGE


def test_pictures_that_can_not_be_found_leave_their_place() -> None:
    pages = dict(picture_pages(["a", "b", "c"], [("b", RED), ("c", b"no image")], {"a": [("map", BLUE)]}))
    assert pictures_in(pages["page-0001.js"]) == [
        [None, [["map", data_uri(BLUE)]]], [data_uri(RED), []], [None, []]
    ]  # fmt: skip


def test_extras_by_key_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "extras.parquet"
    columns = {"key": ["a", "b", "a"], "label": ["lion", HOSTILE, None], "picture": [RED, BLUE, BLUE]}
    pq.write_table(pa.table(columns), path)
    extras = read_extras(path)
    assert extras == {"a": [("lion", RED), ("", BLUE)], "b": [(HOSTILE, BLUE)]}
    assert shown(RED, [*extras["a"], ("damaged", b"x")]) == (
        data_uri(RED), [("lion", data_uri(RED)), ("", data_uri(BLUE))]
    )  # fmt: skip


def test_extras_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "extras.parquet"
    pq.write_table(pa.table({"key": ["a"], "label": ["x"], "picture": ["a.png"]}), path)
    with pytest.raises(DataError, match="the column picture must be binary, not string"):
        read_extras(path)
    pq.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(DataError, match="has no column label, picture"):
        read_extras(path)


def test_human_pairs_are_found_by_their_image_id_and_key() -> None:
    reader = ListReader({"1": RED, "2": BLUE})  # image ids equal keys there
    assert dict(each_picture([reader], {"1-coco": "1", "2": "2", "x-coco": "2"})) == {
        "1-coco": RED,
        "2": BLUE,
    }
