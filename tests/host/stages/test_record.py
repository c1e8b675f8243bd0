from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.stages.record import (
    RECORD_FILE,
    StageRecord,
    Status,
    differences,
    read_record,
    write_json,
    write_record,
    write_text,
)

BASE = StageRecord(
    Status.DONE,
    "f" * 64,
    {"use": "train", "epochs": 20, "model": {"use": "med", "width": 192}, "heads": ["itc", "itm"]},
    seed=0,
    inputs={"emoji": "a1"},
    files={"vocab.txt": "b2"},
    plugins={"blip": "mmtk 0.1.0"},
    started="2026-01-01T00:00:00+00:00",
)


def changed(**keys: Any) -> list[str]:
    return differences(BASE, dataclasses.replace(BASE, **keys))


def test_round_trip(tmp_path: Path) -> None:
    write_record(tmp_path, BASE)
    assert read_record(tmp_path) == BASE
    assert json.loads((tmp_path / RECORD_FILE).read_text())["status"] == "done"
    assert [path.name for path in tmp_path.iterdir()] == [RECORD_FILE]


def test_a_record_of_a_newer_version_keeps_what_is_known(tmp_path: Path) -> None:
    write_json(tmp_path / RECORD_FILE, {**dataclasses.asdict(BASE), "cost": 3})
    assert read_record(tmp_path) == BASE


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"status": "done"}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD_FILE).write_text(text)
    assert read_record(tmp_path) is None


def test_an_unknown_status_is_a_damaged_record(tmp_path: Path) -> None:
    write_json(tmp_path / RECORD_FILE, {**dataclasses.asdict(BASE), "status": "perhaps"})
    assert read_record(tmp_path) is None


def test_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path / "nowhere") is None


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def crash(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_differences_of_keys() -> None:
    node = {"use": "train", "epochs": 5, "model": {"use": "med", "width": 64}, "heads": ["itc", "lm"]}
    assert changed(node=node) == ["epochs: 20 -> 5", "model.width: 192 -> 64", 'heads.1: "itm" -> "lm"']


def test_differences_of_added_and_removed_keys() -> None:
    node = {"use": "train", "epochs": 20, "model": {"use": "med"}, "heads": ["itc", "itm"], "clip": None}
    assert changed(node=node) == ["model.width: 192 -> (absent)", "clip: (absent) -> null"]


def test_a_list_of_another_length_is_shown_whole() -> None:
    assert changed(node={**BASE.node, "heads": ["itc"]}) == ['heads: ["itc", "itm"] -> ["itc"]']


def test_an_integer_is_not_a_bool() -> None:
    assert changed(node={**BASE.node, "epochs": 20.0}) == ["epochs: 20 -> 20.0"]


def test_long_values_are_cut() -> None:
    (line,) = changed(node={**BASE.node, "epochs": "x" * 500})
    assert len(line) < 90
    assert line.endswith("…")


def test_differences_beside_the_node() -> None:
    assert changed(seed=3) == ["seed: 0 -> 3"]
    assert changed(inputs={"emoji": "zz"}) == ["input stage 'emoji' changed"]
    assert changed(files={"vocab.txt": "zz"}) == ["the content of vocab.txt changed"]
    assert changed(plugins={"blip": "mmtk 0.2.0"}) == ['plugin blip: "mmtk 0.1.0" -> "mmtk 0.2.0"']


def test_a_change_that_the_record_does_not_show() -> None:
    assert changed(fingerprint="e" * 64) == ["it was written by another version of mmtk"]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=3), plain), st.dictionaries(st.text(max_size=3), plain))
def test_differences_are_found_exactly_when_there_are_any(old: dict[str, Any], new: dict[str, Any]) -> None:
    lines = differences(dataclasses.replace(BASE, node=old), dataclasses.replace(BASE, node=new))
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    assert (lines == ["it was written by another version of mmtk"]) == same
