from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.recipe import load_recipe
from mmtk.recipe.build import to_plain
from mmtk.recipe.yaml_writer import write_yaml
from tests.host.recipe.parts import checked

TEXTS = [
    *("1e5", "3e-4", "0x1F", "no", "null", "true", "~", "", " a ", "#b", "a: b", "'", "<<", "1_000", ".5"),
    *("${b}", "\\${b}", "\\\\${b}", "${env:HOME}", "${", "-", "- a", "x\ny\n", "\u2028", "\x85", "é猫", "\t"),
    *("2001-01-01", "1:20", "=", "%a", "@a", "!a", "&a", "*a"),
]


def read_back(folder: Path, data: dict[str, Any]) -> Any:
    path = folder / "x.yaml"
    path.write_text(write_yaml(data), "utf-8")
    document = load_recipe(path)
    assert document.problems == ()
    return document.data


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_is_read_as_itself(tmp_path: Path, text: str) -> None:
    data = {"a": text, "b": [text], "c": {"d": text}}
    assert read_back(tmp_path, data) == data


CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
KEYS = st.from_regex(r"[a-z1]{1,5}", fullmatch=True)
VALUES = st.recursive(
    SCALARS | st.text(CHARACTERS).filter(lambda text: text != "???"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(VALUES)
def test_any_data_is_read_as_itself(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    found = read_back(tmp_path_factory.getbasetemp(), {"a": value})["a"]
    assert found == value
    assert type(found) is type(value)


def test_a_resolved_recipe_is_the_recipe_it_came_from(tmp_path: Path) -> None:
    text = (
        "stages:\n  make: {use: make}\n  work: {use: work, text: '1e5', words: ['no', '\\${b}'], ratio: 1e-5,"
    )
    text += " blob: {from: make.blob}, heads: {one: {use: itm}}, maybe: null, colour: blue}\n"
    first = checked(tmp_path, text)
    plain = {name: to_plain(stage.node) for name, stage in first.stages.items()}
    again = checked(tmp_path, write_yaml({"stages": plain}))
    assert {name: stage.node.keys for name, stage in again.stages.items()} == {
        name: stage.node.keys for name, stage in first.stages.items()
    }
    assert first.stages["work"].node.keys["words"] == ["no", "${b}"]
