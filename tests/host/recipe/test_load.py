from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from mmtk.errors import RecipeError
from mmtk.recipe import RecipeDocument, load_recipe
from mmtk.recipe.marks import at


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def load(folder: Path, text: str, *overrides: str) -> RecipeDocument:
    return load_recipe(write(folder, "recipe.yaml", text), overrides)


def faults(document: RecipeDocument) -> list[str]:
    return [str(problem).replace(f"{document.path.parent}/", "") for problem in document.problems]


def place(document: RecipeDocument, *keys: str) -> str:
    found = at(document.root, keys)
    assert found is not None
    return str(found.place).replace(f"{document.path.parent}/", "")


BASE = """\
name: base
description: what all have in common
seed: 7
run_dir: elsewhere
definitions:
  width: 64
stages:
  train:
    use: train
    model: {use: med, width: "${definitions.width}"}
    epochs: 3
"""


def test_extending(tmp_path: Path) -> None:
    write(tmp_path, "common/base.yaml", BASE)
    top = "extends: ../common/base.yaml\nstages:\n  train: {epochs: 5}\n  more: {use: other}\n"
    document = load_recipe(write(tmp_path, "top/recipe.yaml", top))
    assert document.problems == ()
    assert document.data == {
        "seed": 7,
        "definitions": {"width": 64},
        "stages": {
            "train": {"use": "train", "model": {"use": "med", "width": 64}, "epochs": 5},
            "more": {"use": "other"},
        },
    }
    epochs, model = (
        at(document.root, ["stages", "train", "epochs"]),
        at(document.root, ["stages", "train", "model"]),
    )
    assert epochs is not None
    assert model is not None
    assert str(epochs.place) == f"{tmp_path}/top/recipe.yaml:3:19"
    assert str(model.place) == f"{tmp_path}/common/base.yaml:10:12"


def test_places_name_the_file_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "recipes/base.yaml", BASE)
    write(tmp_path, "recipes/top.yaml", "extends: base.yaml\nname: top\n")
    monkeypatch.chdir(tmp_path)
    document = load_recipe("recipes/top.yaml")
    seed = at(document.root, ["seed"])
    assert seed is not None
    assert str(seed.place) == f"recipes{os.sep}base.yaml:3:7"


def test_a_recipe_of_a_recipe_of_a_recipe(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "seed: 1\ndevice: cpu\n")
    write(tmp_path, "b.yaml", "extends: a.yaml\nseed: 2\n")
    assert load(tmp_path, "extends: b.yaml\nname: c\n").data == {"seed": 2, "device": "cpu", "name": "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "extends: recipe.yaml\n",
            r"recipe\.yaml:1:10  extends: recipes extend each other in a circle: .* -> ",
        ),
        (
            "extends: nowhere.yaml\n",
            r"yaml:1:10  extends: there is no file or folder .*nowhere\.yaml$",
        ),
        (
            "extends: recpie.yaml\n",
            r"yaml:1:10  extends: there is no file or folder .*recpie\.yaml; did you mean .*recipe\.yaml\?$",
        ),
        (
            "extends: tutorial.yaml\n",
            r"folder \S+tutorial\.yaml; did you mean 'tutorial', which comes with mmtk\?$",
        ),
        ("extends: tutorail\n", r"folder \S+tutorail; did you mean 'tutorial', which comes with mmtk\?$"),
        ("extends: ../tutorial\n", r"extends: there is no file or folder "),
        (
            "extends: {a: b}\n",
            r"recipe\.yaml:1:10  extends: expected the path of a recipe, or a list of them$",
        ),
        ("extends: [3]\n", r"recipe\.yaml:1:11  extends: expected the path of a recipe, or a list of them$"),
        ("extends: ['']\n", r"recipe\.yaml:1:11  extends: expected the path of a recipe, or a list of them$"),
        ("extends: [recipe.yaml]\n", r"recipe\.yaml:1:11  extends: recipes extend each other in a circle"),
        ("extends: .\n", r"recipe\.yaml:1:10  extends: .* is a folder, and no recipe$"),
        ("- a\n", r"recipe\.yaml:1:1: a recipe is a mapping"),
        ("", r"recipe\.yaml: a recipe is a mapping"),
        ("just words\n", r"recipe\.yaml:1:1: a recipe is a mapping"),
        ("a: [\n", r"recipe\.yaml:2:1: not valid YAML"),
    ],
)
def test_what_ends_the_reading(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    first, *excerpt = str(caught.value).split("\n")
    assert re.search(message, first)
    assert all(line.startswith("    | ") for line in excerpt)


def test_a_recipe_that_comes_with_mmtk_is_extended_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "seed: 5\n")
    document = load(tmp_path, "extends: [tutorial, finetune/retrieval_flickr, base.yaml]\nname: mine\n")
    assert document.problems == ()
    assert {"vocabulary", "pretrain_noisy"} < document.data["stages"].keys()
    assert (document.data["seed"], document.data["name"]) == (5, "mine")
    (tmp_path / "tutorial").write_text("seed: 6\n")  # what lies there comes first
    assert load(tmp_path, "extends: tutorial\n").data == {"seed": 6}


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\r\nseed: 2\r\n")
    assert load_recipe(path).data == {"name": "a", "seed": 2}


def test_a_circle_of_two(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: recipe.yaml\n")
    with pytest.raises(
        RecipeError, match=r"a\.yaml:1:10  extends: .*recipe\.yaml -> .*a\.yaml -> .*recipe\.yaml\n"
    ):
        load(tmp_path, "extends: ./a.yaml\n")


def test_files_that_cant_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: there is no such recipe"):
        load_recipe(tmp_path / "nowhere.yaml")
    with pytest.raises(RecipeError, match="can't be read: Is a directory"):
        load_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(RecipeError, match="no text file in UTF-8"):
        load_recipe(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages.train.epochs=9", 9),
        ("stages.train.epochs=3e-4", 3e-4),
        ("stages.train.epochs=null", None),
        ("stages.train.epochs=", ""),
        ("stages.train.epochs=[1, {a: b}]", [1, {"a": "b"}]),
        ("stages.train.epochs={use: x}", {"use": "x"}),
        ("stages.train.epochs=a = b", "a = b"),
        ("stages.train.epochs=# 1", "# 1"),
        ("stages.train.epochs=part #1", "part #1"),
        ("stages.train.epochs='5'", "5"),
        ("stages.train.epochs=${definitions.width}", 64),
        ("stages.train.epochs=x-${definitions.width}", "x-64"),
    ],
)
def test_override_values(tmp_path: Path, override: str, expected: Any) -> None:
    document = load(tmp_path, BASE, override)
    assert document.problems == ()
    assert document.data["stages"]["train"]["epochs"] == expected
    assert type(document.data["stages"]["train"]["epochs"]) is type(expected)
    if not isinstance(expected, dict | list):
        written = (
            "recipe.yaml:6:10" if override.endswith("=${definitions.width}") else f"command line: {override}"
        )
        assert place(document, "stages", "train", "epochs") == written


def test_overrides_reach_everywhere(tmp_path: Path) -> None:
    text = BASE + "    list: [{a: 1}, {a: 2}]\n"
    document = load(
        tmp_path,
        text,
        "stages.train.optimizer.lr=0.1",
        "stages.train.list[1].a=3",
        "stages.train.list.0.a=4",
        "definitions.width=8",
        "definitions.width=16",
        "seed=3",
        "stages.new={use: x}",
    )
    assert document.problems == ()
    train = document.data["stages"]["train"]
    assert train["optimizer"] == {"lr": 0.1}
    assert train["list"] == [{"a": 4}, {"a": 3}]
    assert train["model"]["width"] == 16
    assert document.data["seed"] == 3
    assert document.data["stages"]["new"] == {"use": "x"}
    assert place(document, "stages", "train", "optimizer") == "command line: stages.train.optimizer.lr=0.1"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "expected key=value, e.g. stages.pretrain.epochs=2"),
        ("=3", "expected key=value, e.g. stages.pretrain.epochs=2"),
        ("a..b=3", "expected key=value, e.g. stages.pretrain.epochs=2"),
        ("a b=3", "expected key=value, e.g. stages.pretrain.epochs=2"),
    ],
)
def test_what_is_no_override(tmp_path: Path, override: str, message: str) -> None:
    assert faults(load(tmp_path, BASE, override)) == [f"command line: {override}: {message}"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.trian.epochs=3", "the recipe has no 'trian' in its stages; did you mean 'train'?"),
        ("definitions.widht=3", "the recipe has no 'widht' in its definitions; did you mean 'width'?"),
        ("definitions.zzz.a=3", "the recipe has no 'zzz' in its definitions; there are: width"),
        ("extends=x.yaml", "can't be set on the command line; write a recipe that extends both"),
        (
            "profiles.small.seed=3",
            "can't be set on the command line; choose one of the recipe's with --profile NAME",
        ),
        ("stages.train.list[7]=3", "'7' is no index of a list of 1 (0 is the first)"),
        (
            "stages.train.epochs=[1",
            "not valid YAML: expected ',' or ']', but got '<stream end>'; the bracket isn't closed",
        ),
        ("stages.train.epochs={a: 1, a: 2}", None),
    ],
)
def test_overrides_that_fit_nowhere(tmp_path: Path, override: str, message: str | None) -> None:
    (fault,) = faults(load(tmp_path, BASE + "    list: [1]\n", override))
    key = override.partition("=")[0]
    if message is None:
        assert fault.startswith(f"command line: {override}  a: the key stands twice")
    else:
        assert fault == f"command line: {override}  {key}: {message}"


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = BASE + "seed: 8\nx: ${nowhere}\ny: ${\nz: '???'\n"
    document = load(tmp_path, text, "stages.trian.epochs=3", "nonsense")
    assert len(document.problems) == 6


def test_a_key_of_very_many_parts(tmp_path: Path) -> None:
    (fault,) = faults(load(tmp_path, BASE, f"{'a.' * 2000}b=1"))
    assert fault.endswith(": a key of more than 40 parts")


def test_references_that_nest_too_deeply(tmp_path: Path) -> None:
    chain = "".join(f"a{n}: {'[' * 30}'${{a{n - 1}}}'{']' * 30}\n" for n in range(1, 40))
    with pytest.raises(RecipeError, match="too deeply"):
        load(tmp_path, f"a0: 1\n{chain}")
