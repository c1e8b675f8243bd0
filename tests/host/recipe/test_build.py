from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmtk.errors import PluginError, RecipeError
from mmtk.recipe import CheckedRecipe
from mmtk.recipe.build import ComponentBlueprint, blueprint, from_plain, to_plain
from mmtk.recipe.references import Reference, leaves, map_leaves
from mmtk.registry import Component, Registration
from mmtk.types import ComponentNode
from tests.host.recipe.parts import Colour, HeadBuilt, Lines, Sizes, checked, registry

CONFIG = "tests.host.recipe.parts:LossConfig"
RECIPE = """\
stages:
  make: {use: make}
  work:
    use: work
    heads: {one: {use: itm, weight: 2}, two: {use: signature, scale: 3}, three: {use: no_model, scale: 4}}
    parts: [{use: margin}]
    loss: {use: smooth}
    blob: {from: make.blob}
    blobs: [here.bin, {from: make.blob}]
    sizes: {width: 16}
    colour: blue
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckedRecipe:
    monkeypatch.chdir(tmp_path)
    Path("here.bin").touch()
    return checked(tmp_path, RECIPE)


@pytest.fixture
def work(recipe: CheckedRecipe) -> ComponentNode:
    return recipe.stages["work"].node


def built(node: ComponentNode) -> dict[str, Any]:
    keys: dict[str, Any] = blueprint(node, registry(), {"make.blob": Path("runs/make/blob.bin")}).build().keys
    return keys


def test_a_factory_is_called_with_the_configs_fields(work: ComponentNode, tmp_path: Path) -> None:
    keys = built(work)
    assert set(keys) == set(work.keys)
    assert keys["sizes"] == Sizes(width=16)
    assert keys["colour"] is Colour.BLUE
    assert keys["blob"] == tmp_path / "runs/make/blob.bin"
    assert keys["blobs"] == (tmp_path / "here.bin", tmp_path / "runs/make/blob.bin")
    assert keys["folder"] == tmp_path / "out"
    assert keys["maybe"] is None


def test_slots_arrive_as_blueprints(work: ComponentNode, tmp_path: Path) -> None:
    keys = built(work)
    assert isinstance(keys["parts"], tuple)
    assert keys["parts"][0].build().keys == {"margin": 0.2}
    assert keys["loss"].build().keys == {"smoothing": 0.1, "reduce": "mean"}
    lines = keys["loggers"]["lines"].build(folder=tmp_path)
    assert isinstance(lines, Lines)
    assert (lines.every, lines.folder) == (5, tmp_path)


def test_injected_values(work: ComponentNode) -> None:
    heads = built(work)["heads"]
    model = object()
    one = heads["one"].build(model=model)
    assert isinstance(one, HeadBuilt)
    assert one.model is model
    assert one.keys == (1, 2.0)
    assert vars(one.loss)["keys"]["smoothing"] == 0.2
    assert heads["two"].build(model=model).keys[:2] == (model, 3.0)
    assert heads["three"].build(model=model) == ("head", 4)


def test_a_blueprint_tells_its_node_with_inputs_as_absolute_paths(
    work: ComponentNode, tmp_path: Path
) -> None:
    found = blueprint(work, registry(), {"make.blob": tmp_path / "blob.bin"})
    assert found.node.keys["blob"] == tmp_path / "blob.bin"
    assert work.keys["blob"] == Reference("make", "blob")
    assert not any(isinstance(leaf, Reference) for leaf in leaves(found.node))


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.bin").touch()
    recipe = checked(tmp_path, "stages: {a: {use: make, after: ~/x.bin}}\n")
    found = blueprint(recipe.stages["a"].node, registry(), {})
    assert found.node.keys["after"] == tmp_path / "x.bin"


def test_a_factory_that_disagrees_with_its_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.bin").touch()
    node = checked(tmp_path, "stages:\n  a: {use: disagreeing, needed: 1, also: here.bin}\n").stages["a"].node
    with pytest.raises(RecipeError) as caught:
        blueprint(node, registry(), {}).build()
    assert str(caught.value) == (
        f"{tmp_path}/recipe.yaml:2:3  stage 'disagreeing' (from parts/mmtk-parts 1.2):"
        " tests.host.recipe.parts:takes_less: missing a required argument: 'count'"
    )


def test_a_missing_injected_value() -> None:
    node = from_plain("head", {"use": "itm"}, registry())
    with pytest.raises(RecipeError, match=r"head 'itm' .*HeadBuilt: missing a required argument: 'model'"):
        blueprint(node, registry(), {}).build()


def test_a_value_that_only_the_factory_can_refuse() -> None:
    node = from_plain("loss", {"use": "smooth", "smoothing": 0.99}, registry())
    with pytest.raises(
        RecipeError, match=r"loss 'smooth' \(from parts/mmtk-parts 1.2\) can't be built: 0.99 is"
    ):
        blueprint(node, registry(), {}).build()


def test_a_factory_that_cant_be_imported() -> None:
    node = ComponentNode("head", "gone", {})
    with pytest.raises(
        PluginError, match=r"the factory of head 'gone' \(from parts/mmtk-parts 1.2\), tests.*nowhere"
    ):
        ComponentBlueprint(node, registry()).build()


def test_a_bug_in_a_factory_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(_self: object, **_keys: Any) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("tests.host.recipe.parts.Loss_.__init__", buggy)
    node = from_plain("loss", {"use": "smooth"}, registry())
    with pytest.raises(TypeError, match="a bug") as caught:
        blueprint(node, registry(), {}).build()
    assert caught.value.__notes__ == [
        "This happened when loss 'smooth' (from parts/mmtk-parts 1.2) was built."
    ]


def test_a_component_is_described_with_its_parts_from_elsewhere() -> None:
    own = "head 'itm' (from parts/mmtk-parts 1.2)"
    assert blueprint(from_plain("head", {"use": "itm"}, registry()), registry(), {}).described == own
    foreign = Registration(Component("loss", "focal", "focal:Focal", CONFIG), "mine", "my-focal", "0.1")
    both = registry(foreign)
    node = from_plain("head", {"use": "itm", "loss": {"use": "focal"}}, both)
    assert blueprint(node, both, {}).described == f"{own} with loss 'focal' (from mine/my-focal 0.1)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nosuchlib", "needs the module 'nosuchlib', which is not installed"),
        ("from json import nothing", "can't import what it needs: cannot import name 'nothing' from 'json'"),
        ("raise ImportError('install it first')", "can't import what it needs: install it first"),
        ("raise SystemExit(0)", "tried to end the program (SystemExit: 0) when it was built"),
    ],
)
def test_what_a_factory_lacks_is_one_line_with_its_plugin(
    monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.setattr("tests.host.recipe.parts.Loss_.__init__", lambda _self, **_keys: exec(source))
    node = from_plain("loss", {"use": "smooth"}, registry())
    with pytest.raises(PluginError) as caught:
        blueprint(node, registry(), {}).build()
    assert str(caught.value).startswith(f"loss 'smooth' (from parts/mmtk-parts 1.2) {message}")


def test_a_factory_that_cant_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.host.recipe.parts.Loss_", 5)
    node = from_plain("loss", {"use": "smooth"}, registry())
    with pytest.raises(PluginError) as caught:
        blueprint(node, registry(), {}).build()
    assert str(caught.value) == (
        "the factory of loss 'smooth' (from parts/mmtk-parts 1.2), tests.host.recipe.parts:Loss_, is an int,"
        " which can't be called"
    )


def test_plain_and_back(work: ComponentNode) -> None:
    data = to_plain(work)
    assert data["use"] == "work"
    assert data["blob"] == {"from": "make.blob"}
    assert data["blobs"] == ["here.bin", {"from": "make.blob"}]
    assert data["colour"] == "blue"
    assert data["sizes"] == {"width": 16, "heads": 4, "shape": [8, 8]}
    assert data["heads"]["one"]["loss"] == {"use": "smooth", "smoothing": 0.2, "reduce": "mean"}
    assert json.loads(json.dumps(data)) == data
    again = from_plain("stage", json.loads(json.dumps(data)), registry())
    assert again == work
    assert to_plain(again) == data


def test_stored_paths_need_not_exist() -> None:
    node = from_plain("stage", {"use": "make", "after": "/nowhere/at/all"}, registry())
    assert node.keys["after"] == Path("/nowhere/at/all")


def test_a_stored_path_of_a_user_who_is_not_here() -> None:
    node = from_plain("stage", {"use": "make", "after": "~nosuchuser/blob"}, registry())
    with pytest.raises(RecipeError, match=r"^stored stage  stage 'make': there is no home folder ~nosu"):
        blueprint(node, registry(), {})


def test_stored_nodes_that_no_longer_fit() -> None:
    with pytest.raises(RecipeError) as caught:
        from_plain("head", {"use": "itm", "old": 1, "weight": "x", "loss": {"use": "nope"}}, registry())
    assert str(caught.value).startswith("stored head: 3 problems\n  stored head  old: unknown key")
    with pytest.raises(RecipeError, match="expected a head"):
        from_plain("head", [1], registry())


def test_leaves_and_mapping_them(work: ComponentNode) -> None:
    assert {leaf.use for leaf in leaves(work) if isinstance(leaf, ComponentNode)} == {
        "work", "itm", "signature", "no_model", "margin", "smooth", "lines",
    }  # fmt: skip
    doubled = map_leaves(work, lambda leaf: leaf * 2 if type(leaf) is int else leaf)
    assert doubled.keys["sizes"] == Sizes(width=32, heads=8, shape=(16, 16))
    assert doubled.keys["heads"]["one"].keys["negatives"] == 2
    assert work.keys["sizes"] == Sizes(width=16)
    assert map_leaves(work, lambda leaf: leaf) == work
