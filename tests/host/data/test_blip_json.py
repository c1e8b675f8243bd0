from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmtk.data.readers.blip_json import BlipJsonReader
from mmtk.errors import DataError, SampleError

from .samples import picture


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.x.png"):
        (folder / name).write_bytes(picture())
    return folder


def write_list(path: Path, items: Any) -> Path:
    path.write_text(json.dumps(items))
    return path


def test_reads_strings_lists_and_ids(tmp_path: Path, images: Path) -> None:
    items = [
        {"image": "a.png", "caption": "one", "image_id": 12},
        {"image": "sub/b.x.png", "caption": ["two", " ", "three"]},
        {"image": "a.png", "caption": "a second caption of the first image", "image_id": 12},
    ]
    reader = BlipJsonReader(write_list(tmp_path / "l.json", items), images, source="human")
    first, second, third = (reader[index] for index in range(3))
    assert (first.key, first.texts, first.image_id, first.source) == ("a", ("one",), "12", "human")
    assert (second.key, second.texts, second.image_id) == ("sub/b_x", ("two", "three"), "sub/b.x.png")
    assert (third.key, third.image_id) == ("a-2", "12")
    assert first.image == picture()
    assert second.location == f"{tmp_path / 'l.json'}[1]"
    assert reader.quarantined == []


def test_a_null_image_id_is_as_if_it_were_missing(tmp_path: Path, images: Path) -> None:
    items = [{"image": name, "caption": "x", "image_id": None} for name in ("a.png", "sub/b.x.png")]
    reader = BlipJsonReader(write_list(tmp_path / "l.json", items), images)
    assert [reader[index].image_id for index in range(2)] == ["a.png", "sub/b.x.png"]


def test_several_lists_keep_keys_apart(tmp_path: Path, images: Path) -> None:
    lists = [write_list(tmp_path / f"{n}.json", [{"image": "a.png", "caption": str(n)}]) for n in range(3)]
    reader = BlipJsonReader(lists, images)
    assert [reader[index].key for index in range(3)] == ["a", "a-0", "a-0-0"]
    assert [reader[index].texts for index in range(3)] == [("0",), ("1",), ("2",)]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text", "bad item: an object is expected, not str"),
        ({"caption": "x"}, "bad item: no field 'image'"),
        ({"image": 5, "caption": "x"}, "bad item: image 5"),
        ({"image": "a.png", "caption": "cat \ud83d"}, "text is not Unicode"),
        ({"image": "a.png", "caption": "x", "image_id": "\udc00"}, "text is not Unicode"),
        ({"image": "a.png"}, "no text: no field 'caption'"),
        ({"image": "a.png", "caption": ["x", 3]}, "bad item: 'caption' must be"),
        ({"image": "a.png", "caption": []}, "no text: the list of captions is empty"),
    ],
)
def test_a_bad_item_is_quarantined_with_its_index(
    tmp_path: Path, images: Path, item: Any, reason: str
) -> None:
    path = write_list(tmp_path / "l.json", [{"image": "a.png", "caption": "good"}, item])
    reader = BlipJsonReader(path, images)
    assert len(reader) == 1
    (entry,) = reader.quarantined
    assert entry.key == "item 1"
    assert entry.location == f"{path}[1]"
    assert reason in entry.reason


def test_a_missing_image_is_an_error_of_its_sample(tmp_path: Path, images: Path) -> None:
    path = write_list(tmp_path / "l.json", [{"image": "c.png", "caption": "x"}])
    with pytest.raises(SampleError, match="No such file") as caught:
        BlipJsonReader(path, images)[0]
    assert (caught.value.key, caught.value.location) == ("c", f"{path}[0]")


def test_bad_json_names_line_and_column(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "l.json"
    path.write_text('[\n  {"image": "a.png" "caption": "x"}\n]')
    with pytest.raises(DataError, match=r"l\.json:2:2\d: bad JSON"):
        BlipJsonReader(path, images)


@pytest.mark.parametrize(
    ("image", "key"),
    [
        (".", "_"),
        ("/", "item"),
        ("..", "__"),
        ("a/.png", "a/_png"),
        ("\x1b[2J.png", r"\x1b[2J"),
        ("a\0.png", r"a\x00"),
    ],
)
def test_odd_paths_have_keys_and_no_picture(tmp_path: Path, images: Path, image: str, key: str) -> None:
    reader = BlipJsonReader(write_list(tmp_path / "l.json", [{"image": image, "caption": "x"}]), images)
    with pytest.raises(SampleError) as caught:
        reader[0]
    assert caught.value.key == key
    assert caught.value.reason.startswith("no image: ")
    assert "\x1b" not in caught.value.reason


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "1" * 5000 + "]"])
def test_json_beyond_what_python_reads(tmp_path: Path, images: Path, text: str) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(DataError, match=r"l\.json: bad JSON: "):
        BlipJsonReader(tmp_path / "l.json", images)


def test_unusable_lists_and_folders(tmp_path: Path, images: Path) -> None:
    with pytest.raises(DataError, match=r"can't read .*missing\.json"):
        BlipJsonReader(tmp_path / "missing.json", images)
    with pytest.raises(DataError, match="a JSON list of items is expected, not dict"):
        BlipJsonReader(write_list(tmp_path / "o.json", {}), images)
    (tmp_path / "latin.json").write_bytes(b'["\xe9"]')
    with pytest.raises(DataError, match="not UTF-8"):
        BlipJsonReader(tmp_path / "latin.json", images)
    with pytest.raises(DataError, match="no such image folder"):
        BlipJsonReader(write_list(tmp_path / "l.json", []), tmp_path / "nowhere")
