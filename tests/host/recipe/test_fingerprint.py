from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.recipe import fingerprint as module
from mmtk.recipe.build import from_plain
from mmtk.recipe.fingerprint import file_identities, fingerprint, plugin_versions, without_keys
from mmtk.recipe.paths import matches, what_is_missing
from mmtk.registry import Registration, Registry
from mmtk.types import ComponentNode
from tests.host.recipe.parts import COMPONENTS, registry

BASE: dict[str, Any] = {
    "node": {"use": "train", "epochs": 2, "model": {"use": "med"}},
    "seed": 0,
    "inputs": {"emoji": "ab"},
    "files": {"vocab.txt": "cd"},
    "plugins": {"blip": "mmtk 0.1.0"},
}


def test_it_is_the_same_in_every_process() -> None:
    code = f"from mmtk.recipe.fingerprint import fingerprint; print(fingerprint(**{BASE!r}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {fingerprint(**BASE)}
    assert len(fingerprint(**BASE)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"node": {**BASE["node"], "epochs": 3}},
        {"node": {**BASE["node"], "epochs": 2.0}},
        {"node": {**BASE["node"], "clip": None}},
        {"seed": 1},
        {"inputs": {"emoji": "ac"}},
        {"inputs": {}},
        {"files": {"vocab.txt": "ce"}},
        {"plugins": {"blip": "mmtk 0.1.1"}},
    ],
)
def test_everything_counts(change: dict[str, Any]) -> None:
    assert fingerprint(**{**BASE, **change}) != fingerprint(**BASE)


@settings(deadline=None)
@given(st.permutations(list(BASE["node"])))
def test_the_order_of_keys_doesnt_count(order: list[str]) -> None:
    assert fingerprint(**{**BASE, "node": {key: BASE["node"][key] for key in order}}) == fingerprint(**BASE)


def test_plugin_versions() -> None:
    registrations = [
        Registration(one, "losses", "mmtk-losses", "3.0")
        if one.kind == "loss"
        else Registration(one, "parts", "mmtk-parts", "1.2")
        for one in COMPONENTS
    ]
    found = Registry(registrations)
    node = from_plain("head", {"use": "itm"}, found)
    assert plugin_versions(node, found) == {"losses": "mmtk-losses 3.0", "parts": "mmtk-parts 1.2"}
    assert plugin_versions(node.keys["loss"], found) == {"losses": "mmtk-losses 3.0"}
    assert plugin_versions(node, registry()) == {"parts": "mmtk-parts 1.2"}


def identity(path: str) -> str:
    return file_identities(ComponentNode("stage", "x", {"a": [Path(path)]}))[path]


def test_a_file_counts_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert identity("x.txt") == "absent"
    Path("x.txt").write_text("one")
    first = identity("x.txt")
    os.utime("x.txt", (1, 1))
    assert identity("x.txt") == first
    Path("x.txt").write_text("two")
    assert identity("x.txt") != first


def test_a_large_one_counts_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 2)
    path = tmp_path / "x.txt"
    path.write_text("one")
    os.utime(path, (1, 1))
    first = identity(str(path))
    path.write_text("two")
    os.utime(path, (1, 1))
    assert identity(str(path)) == first
    os.utime(path, (2, 2))
    assert identity(str(path)) != first


def test_a_folder_counts_by_what_lies_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.tar").write_text("a")
    (folder / "inner" / "b.tar").write_text("b")
    first = identity(str(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    assert identity(str(moved)) == first
    (moved / "a.tar").rename(moved / "c.tar")
    second = identity(str(moved))
    assert second != first
    (moved / "inner" / "b.tar").write_text("c")
    assert identity(str(moved)) != second


def test_indexes_that_readers_leave_beside_shards_dont_count(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("a")
    first = identity(str(tmp_path)), identity(f"{tmp_path}/a*")
    (tmp_path / "a.tar.mmtk-index").write_text("index")
    (tmp_path / ".a.tar.mmtk-index.1-2.mmtk-index").write_text("half of one")
    assert (identity(str(tmp_path)), identity(f"{tmp_path}/a*")) == first


def test_a_pattern_counts_by_what_fits(tmp_path: Path) -> None:
    for name in ("a-0.tar", "a-1.tar", "b.tar"):
        (tmp_path / name).write_text(name)
    first = identity(f"{tmp_path}/a-{{0..1}}.tar")
    assert first == identity(f"{tmp_path}/a-*.tar") != "absent"
    (tmp_path / "b.tar").write_text("changed")
    assert identity(f"{tmp_path}/a-*.tar") == first
    (tmp_path / "a-1.tar").write_text("changed")
    assert identity(f"{tmp_path}/a-*.tar") != first


def test_a_pattern_that_fits_one_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").write_text("a")
    assert identity(f"{tmp_path}/sh*") == identity(f"{tmp_path}/shards")


def test_several_folders_count_by_what_lies_in_them(tmp_path: Path) -> None:
    for name in ("s-0", "s-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tar").write_text(name)
    first = identity(f"{tmp_path}/s-*")
    (tmp_path / "s-1" / "a.tar").write_text("changed")
    assert identity(f"{tmp_path}/s-*") != first


def test_what_lies_at_a_path(tmp_path: Path) -> None:
    for name in ("a-1.tar", "a-0.tar", "[b].tar"):
        (tmp_path / name).touch()
    assert [path.name for path in matches(tmp_path / "a-?.tar")] == ["a-0.tar", "a-1.tar"]
    assert [path.name for path in matches(tmp_path / "[b].tar")] == ["[b].tar"]
    assert matches(tmp_path / "c.tar") == []
    assert what_is_missing(tmp_path / "a-{0..1}.tar") is None
    assert what_is_missing(tmp_path / "a-2.tar") == (
        f"there is no file or folder {tmp_path}/a-2.tar; did you mean {tmp_path}/a-1.tar?"
    )
    assert what_is_missing(tmp_path / "no" / "where") == f"there is no file or folder {tmp_path}/no/where"


def test_keys_that_change_no_result_are_left_out_of_a_node_and_of_its_parts() -> None:
    keys = {
        "lr": 0.1,
        "strategy": ComponentNode("strategy", "fsdp2", {}),
        "data": {"workers": 4, "batch_size": 8},
        "save_every": None,
    }
    node = ComponentNode("stage", "train", keys)
    left, plain = without_keys(node, ("strategy", "save_every", "data.workers", "data.absent", "absent.key"))
    assert plain == {"use": "train", "lr": 0.1, "data": {"batch_size": 8}}
    assert set(left.keys) == {"lr", "data"}
    assert without_keys(node, ())[0] == node
