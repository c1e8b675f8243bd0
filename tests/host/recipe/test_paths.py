"""Paths that can't be one, and the home folder's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.errors import RecipeError
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.paths import matches, path_fault, what_is_missing
from tests.host.recipe.parts import checked

MAKE = "stages:\n  make: {use: make}\n"
NO_HOME = "there is no home folder ~nosuchuser on this machine"
HAS_NUL = r"a\x00b/c has the character \x00, which no path can have"


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("~nosuchuser/d", NO_HOME),
        ("a\0b/c", HAS_NUL),
        ("a\ud800b", r"a\ud800b has a character that no path can have"),
    ],
)
def test_what_can_be_no_path(path: str, fault: str) -> None:
    assert path_fault(path) == fault
    assert what_is_missing(Path(path)) == fault
    assert matches(Path(path)) == []


def test_what_can_be_a_path() -> None:
    assert [path_fault(path) for path in ("", "~", "~/a", "a/~b", Path("a"))] == [None] * 5


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('run_dir: "a\\0b/c"', f"1:10  run_dir: {HAS_NUL}"),
        ("run_dir: ~nosuchuser/d", f"1:10  run_dir: {NO_HOME}"),
        ('extends: "a\\0b/c"', f"1:10  extends: {HAS_NUL}"),
        ("extends: [~nosuchuser/d]", f"1:11  extends: {NO_HOME}"),
        ("stages: {a: {use: make, after: ~nosuchuser/d}}", f"1:32  stages.a.after: {NO_HOME} (make,"),
        ('stages: {a: {use: make, after: "a\\0b/c"}}', f"1:32  stages.a.after: {HAS_NUL} (make,"),
        ("stages: {a: {use: work, folder: ~nosuchuser/d}}", f"1:33  stages.a.folder: {NO_HOME} (work,"),
    ],
)
def test_the_check_says_so(line: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        checked(tmp_path, line if line.startswith("stages") else f"{line}\n{MAKE}")
    assert str(caught.value).startswith(f"{tmp_path}/recipe.yaml:{fault}")


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    base = tmp_path / "home" / "base.yaml"
    base.parent.mkdir()
    base.write_text(f"seed: 3\n{MAKE}")
    recipe = checked(tmp_path, f"extends: ~/base.yaml\nrun_dir: ~/runs/x\n{MAKE}")
    assert (recipe.seed, recipe.run_dir) == (3, tmp_path / "home" / "runs" / "x")


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        (
            "use: blip_json, annotations: things, images: things",
            "annotations: things is a folder, and a file",
        ),
        (
            "use: blip_json, annotations: [list.json, things], images: things",
            "annotations.1: things is a folder",
        ),
        (
            "use: blip_json, annotations: list.json, images: list.json",
            "images: list.json is a file, and a folder",
        ),
        ("use: hf_dataset, path: list.json", "path: list.json is a file, and a folder is expected"),
    ],
)
def test_a_folder_is_no_file(node: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "things").mkdir()
    (tmp_path / "list.json").write_text("[]")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"stages: {{words: {{use: train_wordpiece, texts: [{{{node}}}]}}}}")
    with pytest.raises(RecipeError) as caught:
        check_recipe(load_recipe(recipe, []), load_plugins().registry)
    assert f"stages.words.texts.0.{fault}" in str(caught.value)
