from __future__ import annotations

import csv
import json
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmtk.data.readers import line_index
from mmtk.data.readers.line_index import csv_records, line_records
from mmtk.data.readers.line_tables import LineReader, csv_reader, jsonl_reader
from mmtk.errors import DataError, SampleError

from .samples import picture


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "sub/b.png", "c.png")):
        (folder / name).write_bytes(picture(seed=number))
    return folder


def write_lines(path: Path, *lines: Any) -> Path:
    path.write_bytes(
        b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)
    )
    return path


def reason(reader: LineReader, index: int) -> str:
    with pytest.raises(SampleError) as caught:
        reader[index]
    return f"{caught.value.key} | {caught.value.location.rpartition('/')[2]} | {caught.value.reason}"


def test_lines_with_names_of_ones_own(tmp_path: Path, images: Path) -> None:
    path = write_lines(
        tmp_path / "set.v1.jsonl",
        {"file": "a.png", "de": ["eins", "zwei"], "en": "one", "id": 7},
        {"file": "sub/b.png", "de": None, "en": "two"},
        {"file": "sub/b.png", "de": [], "en": " "},
    )
    reader = jsonl_reader(path, images, image="file", text=["de", "en"], image_id="id", source="human")
    first, second, third = (reader[index] for index in range(3))
    assert (first.key, first.texts, first.image_id, first.source) == (
        "set_v1-1",
        ("eins", "zwei", "one"),
        "7",
        "human",
    )
    assert (second.key, second.texts, second.image_id) == ("set_v1-2", ("two",), "sub/b.png")
    assert second.image == picture(seed=1)
    assert second.location == f"{path}:2"
    assert third.texts == ("",)
    assert reader[-1] == third
    with pytest.raises(IndexError):
        reader[3]


def test_bad_lines_name_file_and_line(tmp_path: Path, images: Path) -> None:
    path = write_lines(
        tmp_path / "t.jsonl",
        b"\xef\xbb\xbf" + json.dumps({"image": "a.png", "caption": "good"}).encode() + b"\r",
        b"",
        b'{"image": "a.png" "caption": 1}',
        [1],
        {"caption": "x"},
        {"image": "a.png"},
        {"image": "a.png", "caption": [1]},
        {"image": "gone.png", "caption": "x"},
        {"image": "../t.jsonl", "caption": "x"},
        {"image": "/etc/hostname", "caption": "x"},
        {"image": "sub", "caption": "x"},
        {"image": 5, "caption": "x"},
        b'{"image": "a.png", "caption": "caf\xe9"}',
        rb'{"image": "a.png", "caption": "\ud800"}',
        b"[" * 100_000,
        {"image": "a\x00.png", "caption": "x"},
        {"image": "\x1b[2J.png", "caption": "x"},
    )
    reader = jsonl_reader(path, images)
    assert reader[0].texts == ("good",)
    wanted = [
        "t-3 | t.jsonl:3 | bad JSON: Expecting ',' delimiter, in column 19",
        "t-4 | t.jsonl:4 | bad JSON: an object is expected, not list",
        "t-5 | t.jsonl:5 | no image: nothing in 'image'",
        "t-6 | t.jsonl:6 | no text: nothing in 'caption'",
        "t-7 | t.jsonl:7 | bad item: 'caption' must be a text or a list of texts",
        f"t-8 | t.jsonl:8 | no image: can't read {images}/gone.png: No such file or directory",
        f"t-9 | t.jsonl:9 | bad item: image '../t.jsonl' lies outside of the folder {images}",
        f"t-10 | t.jsonl:10 | bad item: image '/etc/hostname' lies outside of the folder {images}",
        f"t-11 | t.jsonl:11 | no image: {images}/sub is no file",
        "t-12 | t.jsonl:12 | bad item: 'image' must be bytes or a path, not int",
        "t-13 | t.jsonl:13 | text is not UTF-8: byte 34 of the line",
        "t-14 | t.jsonl:14 | text is not Unicode: half a surrogate pair in '\\ud800'",
        "t-15 | t.jsonl:15 | bad JSON: ",
        "t-16 | t.jsonl:16 | no image: can't read ",
        f"t-17 | t.jsonl:17 | no image: can't read {images}/\\x1b[2J.png: No such",
    ]
    found = [reason(reader, index) for index in range(1, len(reader))]
    assert len(found) == len(wanted)
    for one, start in zip(found, wanted, strict=True):
        assert one.startswith(start)


def test_a_line_without_end_is_refused_and_costs_no_more(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_index, "MAX_RECORD", 100)
    path = write_lines(
        tmp_path / "t.jsonl", {"image": "a.png", "caption": "x" * 200}, {"image": "a.png", "caption": "x"}
    )
    reader = jsonl_reader(path, images)
    assert reader[0].key == "t-2"
    (entry,) = reader.quarantined
    assert (entry.key, entry.location) == ("t-1", f"{path}:1")
    assert entry.reason.startswith("bad line: more than")


def test_several_files_and_a_folder(tmp_path: Path, images: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder / "t.jsonl", {"image": "a.png", "caption": folder})
    reader = jsonl_reader([tmp_path / "x", tmp_path / "y" / "t.jsonl"], images)
    assert [(reader[n].key, reader[n].texts) for n in range(2)] == [("t-0-1", ("x",)), ("t-1-1", ("y",))]
    copy = pickle.loads(pickle.dumps(reader))
    assert copy[1] == reader[1]


def test_pictures_lie_beside_the_table_by_default(images: Path) -> None:
    path = write_lines(images / "t.jsonl", {"image": "sub/b.png", "caption": "x"})
    assert jsonl_reader(path)[0].image == picture(seed=1)


def test_a_pipe_is_no_picture(images: Path) -> None:
    os.mkfifo(images / "pipe.png")
    path = write_lines(images / "t.jsonl", {"image": "pipe.png", "caption": "x"})
    assert "is no file" in reason(jsonl_reader(path), 0)


def test_files_that_change_are_errors_of_their_samples(tmp_path: Path, images: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", {"image": "a.png", "caption": "x"})
    reader = jsonl_reader(path, images)
    path.write_bytes(b"{")
    assert "cut-off file" in reason(reader, 0)
    path.unlink()
    assert "unreadable file" in reason(reader, 0)


def test_csv_with_quotes_line_breaks_and_several_texts(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        'image,en,de,x\r\na.png,"one, ""so""\nto say",,x\r\n\r\nsub/b.png,two\u2028 lines,zwei,\nc.png,,,x',
        newline="",
    )
    reader = csv_reader(path, images, text=("en", "de"))
    assert [(one.key, one.texts) for one in (reader[n] for n in range(2))] == [
        ("t-2", ('one, "so"\nto say',)),
        ("t-5", ("two\u2028 lines", "zwei")),
    ]
    assert reason(reader, 2) == "t-6 | t.csv:6 | no text: nothing in 'en', 'de'"


def test_tsv_without_a_header(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a cat, sitting\ta.png\na dog\tsub/b.png\textra\n")
    reader = csv_reader(path, images, columns=("caption", "image"))
    assert reader[0].texts == ("a cat, sitting",)
    assert reason(reader, 1) == "t-2 | t.tsv:2 | bad line: 3 fields, there are 2 columns"
    assert csv_reader(path, images, delimiter=",", columns=("caption", "image")).quarantined == []


def test_a_quote_that_is_never_closed_costs_its_line(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('image,caption\na.png,"fine"\na.png,"open\nc.png,last\n')
    reader = csv_reader(path, images)
    assert [reader[n].key for n in range(len(reader))] == ["t-2", "t-4"]
    assert [(one.key, one.reason) for one in reader.quarantined] == [
        ("t-3", "bad line: a quote in it is never closed")
    ]


def test_tables_that_cannot_be_read_at_all(tmp_path: Path, images: Path) -> None:
    (tmp_path / "t.csv").write_text("image,text\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "latin.csv").write_bytes(b"caf\xe9,image\n")
    with pytest.raises(DataError, match=r"t\.csv: no column 'caption'; there are: image, text"):
        csv_reader(tmp_path / "t.csv", images)
    with pytest.raises(DataError, match=r"empty\.csv: no header"):
        csv_reader(tmp_path / "empty.csv", images)
    with pytest.raises(DataError, match=r"latin\.csv:1: text is not UTF-8: byte 3"):
        csv_reader(tmp_path / "latin.csv", images)
    with pytest.raises(DataError, match="no such image folder"):
        jsonl_reader(tmp_path / "t.csv", tmp_path / "nowhere")
    with pytest.raises(DataError, match="no such file"):
        jsonl_reader(tmp_path / "gone.jsonl", images)
    with pytest.raises(DataError, match=r"no \*\.jsonl files in the folder"):
        jsonl_reader(tmp_path, images)


def test_lines_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_index, "CHUNK", 7)
    lines = [b"x" * (3 + number % 5) for number in range(50)]
    (tmp_path / "t").write_bytes(b"\n".join(lines))
    records = line_records(tmp_path / "t")
    assert [records.read(index).strip() for index in range(len(records))] == lines
    assert records.lines.tolist() == list(range(1, 51))
    (tmp_path / "t").write_bytes(b"")
    assert len(line_records(tmp_path / "t")) == 0


FIELDS = st.lists(st.lists(st.text('a",\n é', max_size=6), min_size=2, max_size=3), max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=FIELDS, end=st.sampled_from(["\n", "\r\n"]))
def test_records_are_those_of_the_csv_module(tmp_path: Path, rows: list[list[str]], end: str) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator=end).writerows(rows)
    with path.open(newline="") as file:
        wanted = [row for row in csv.reader(file) if row]
    records = csv_records(path, ",")
    found = []
    for index in range(len(records)):
        text = records.read(index).decode()
        found.append(next(csv.reader(line + "\n" for line in text.split("\n"))))
    assert found == wanted == rows
    assert records.refused == ()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(12)),
    flips=st.lists(st.tuples(st.integers(0, 600), st.integers(1, 255)), max_size=4),
    kind=st.sampled_from(["jsonl", "csv"]),
)
def test_every_line_is_read_once_or_accounted_for(
    tmp_path: Path, order: list[int], flips: list[tuple[int, int]], kind: str
) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    if kind == "jsonl":
        lines = [json.dumps({"image": "a.png", "caption": f"text {n}"}) for n in range(12)]
    else:
        lines = [f'a.png,"text {n}"' for n in range(12)]
    data = bytearray("\n".join(lines).encode())
    for place, change in flips:
        if place < len(data):
            data[place] ^= change
    path = tmp_path / "t"
    path.write_bytes(bytes(data))
    reader = jsonl_reader(path) if kind == "jsonl" else csv_reader(path, columns=("image", "caption"))
    used: Counter[str] = Counter()
    refused = len(reader.quarantined)
    for index in order[: len(reader)] if len(reader) >= 12 else range(len(reader)):
        if index >= len(reader):
            continue
        try:
            used[reader[index].key] += 1
        except SampleError:
            refused += 1
    assert set(used.values()) <= {1}
    if not flips:
        assert sorted(used) == sorted(f"t-{n}" for n in range(1, 13))
    if kind == "jsonl" and b"\n\n" not in data and len(reader) <= 12:
        assert sum(used.values()) + refused == len(
            [line for line in bytes(data).split(b"\n") if line.strip()]
        )


def test_an_index_is_small(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"image": "a.png", "caption": "x"}\n' * 10_000)
    records = line_records(path)
    assert sum(array.nbytes for array in (records.starts, records.sizes, records.lines)) == 160_000
    assert np.array_equal(records.lines, np.arange(1, 10_001))
