"""Definitions that a layer adds and nothing reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.recipe import load_recipe

BASE = """\
definitions:
  epochs: {pretrain: 2, tune: 1}
  web: {path: data}
  never_read: 1
  link: ${definitions.web}
stages:
  one: {epochs: "${definitions.epochs.pretrain}", reader: "${definitions.link}"}
  two: {epochs: "${definitions.epochs.tune}"}
profiles:
  long: {definitions: {epochs: {tune: 9}}}
  misspelt: {definitions: {epochs: {tunes: 9}}}
  own: {definitions: {mine: 4}, stages: {two: {epochs: "${definitions.mine}"}}}
"""


def said(
    folder: Path, child: str = "", overrides: tuple[str, ...] = (), profiles: tuple[str, ...] = ()
) -> str:
    path = folder / "base.yaml"
    path.write_text(BASE, "utf-8")
    if child:
        path = folder / "child.yaml"
        path.write_text(f"extends: base.yaml\n{child}\n", "utf-8")
    problems = load_recipe(path, overrides, profiles).problems
    return "\n".join(map(str, problems)).replace(f"{folder}/", "")


NEW = "a new definition that nothing reads; "


def test_on_the_command_line(tmp_path: Path) -> None:
    override = "definitions.epochs.pretrian=1"
    hint = "did you mean definitions.epochs.pretrain?"
    found = said(tmp_path, overrides=(override,))
    assert found == f"command line: {override}  definitions.epochs.pretrian: {NEW}{hint}"


@pytest.mark.parametrize("added", ["form", "us", "colour"])
def test_no_hint_names_a_key_of_a_component(tmp_path: Path, added: str) -> None:
    """Neither what every component has nor what lies deep within one is meant by a new definition."""
    child = "stages: {one: {reader: '${definitions.model}'}}\ndefinitions:\n"
    child += "  model: {use: vit, from: one, inner: {colours: 3}}\n"
    found = said(tmp_path, child, (f"definitions.epochs.{added}=1",))
    assert found.endswith(f"{NEW}write ${{definitions.epochs.{added}}} where it is wanted")


def test_in_a_mapping_on_the_command_line(tmp_path: Path) -> None:
    found = said(tmp_path, overrides=("definitions.epochs={pretrain: 1, tune: 1, tunne: 3}",))
    assert found.endswith(f"definitions.epochs.tunne: {NEW}did you mean definitions.epochs.tune?")


def test_in_a_profile_that_is_laid_on(tmp_path: Path) -> None:
    assert said(tmp_path, profiles=("misspelt",)) == (
        f"base.yaml:11:37  definitions.epochs.tunes: {NEW}did you mean definitions.epochs.tune?"
    )
    assert said(tmp_path, profiles=("long", "own")) == ""


@pytest.mark.parametrize(
    ("child", "place", "hint"),
    [
        ("definitions: {wbe: {path: x}}", "2:15  definitions.wbe", "did you mean definitions.web?"),
        ("definitions: {pretrain: 4}", "2:15  definitions.pretrain", "did you mean definitions.epochs.pret"),
        ("definitions: {qq: 1}", "2:15  definitions.qq", "write ${definitions.qq} where it is wanted"),
        # What reads only itself is read by nothing.
        ("definitions: {qq: {x: 1, y: '${.x}'}}", "2:15  definitions.qq", "write ${definitions.qq} where"),
        ("definitions: {qq: 1}\nstages: {one: {t: '\\${definitions.qq}'}}", "2:15  definitions.qq", "write"),
    ],
)
def test_in_a_recipe_on_top_of_another(tmp_path: Path, child: str, place: str, hint: str) -> None:
    found = said(tmp_path, child)
    assert found.startswith(f"child.yaml:{place}: {NEW}{hint}")
    assert "\n" not in found


@pytest.mark.parametrize(
    "child",
    [
        "definitions: {epochs: {pretrain: 3}, never_read: 2, web: {more: 1}}",
        "definitions: {link: {more: 1}}",
        "definitions: {new: 1}\nstages: {one: {epochs: '${definitions.new}'}}",
        "definitions: {new: {a: 1, b: 2}}\nstages: {one: {epochs: '${definitions.new.a}'}}",
        "definitions: {new: 1, newer: '${.new}'}\nstages: {one: {text: 'x${ definitions.newer }'}}",
        "definitions: {new: 1, which: new}\nstages: {one: {epochs: '${definitions.${definitions.which}}'}}",
        "definitions: {new: &new {a: 1}}\nstages: {one: {more: *new}}",
        "definitions: {new: &new {a: 1}}\nstages: {one: {<<: *new}}",
        "definitions: {new: 1}\nprofiles: {p: {stages: {one: {epochs: '${definitions.new}'}}}}",
        "definitions: {new: 1}\nprofiles: {p: {stages: {one: {epochs: '${...definitions.new}'}}}}",
        "definitions: {new: 1}\nprofiles: {p: {definitions: {never_read: '${.new}'}}}",
    ],
)
def test_what_is_read_or_was_there(tmp_path: Path, child: str) -> None:
    assert said(tmp_path, child) == ""


def test_a_definition_whose_only_reader_is_replaced(tmp_path: Path) -> None:
    child = "stages: {two: {epochs: 5}}"
    assert said(tmp_path, child, ("definitions.epochs.tune=7", "definitions.never_read=7")) == ""
    child = "definitions: {new: 3}\nstages: {two: {epochs: '${definitions.new}'}}"
    assert said(tmp_path, child, ("stages.two.epochs=1",)) == ""


def test_a_recipe_that_extends_none_may_define_what_it_likes(tmp_path: Path) -> None:
    assert said(tmp_path) == ""
    (tmp_path / "more.yaml").write_text("definitions: {for_others: 1}\n")
    assert said(tmp_path, "").count("\n") == 0
    (tmp_path / "both.yaml").write_text("extends: [base.yaml, more.yaml]\n")
    assert load_recipe(tmp_path / "both.yaml").problems == ()


def test_thousands_are_said_in_a_moment(tmp_path: Path) -> None:
    child = "definitions:\n" + "\n".join(f"  new{number}: {number}" for number in range(3000))
    assert said(tmp_path, child).count(NEW) == 3000


def test_a_recipe_in_the_middle_may_define_for_those_above(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "definitions: {one: 1}\nstages: {a: {use: write, text: '${definitions.one}'}}\n"
    )
    (tmp_path / "middle.yaml").write_text("extends: base.yaml\ndefinitions: {spare: 2}\n")
    (tmp_path / "top.yaml").write_text("extends: middle.yaml\ndefinitions: {one: 3}\n")
    assert load_recipe(tmp_path / "top.yaml").problems == ()
    (own,) = load_recipe(tmp_path / "middle.yaml").problems
    assert (own.path, own.message.startswith(NEW)) == ("definitions.spare", True)
