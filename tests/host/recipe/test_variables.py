from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmtk.errors import RecipeError
from mmtk.recipe import load_recipe
from tests.host.recipe.parts import checked

TOP = "environment: [MMTK_T_ROOT, MMTK_T_COUNT]\n"


def load(folder: Path, text: str, *overrides: str) -> tuple[Any, list[str]]:
    path = folder / "x.yaml"
    path.write_text(text, "utf-8")
    document = load_recipe(path, overrides)
    return document.data, [str(one).replace(f"{folder}/", "") for one in document.problems]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMTK_T_ROOT", "/data/web")
    monkeypatch.setenv("MMTK_T_COUNT", "3")
    monkeypatch.setenv("MMTK_T_SECRET", "hush")
    monkeypatch.delenv("MMTK_T_NONE", raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${env:MMTK_T_ROOT}", "/data/web"),
        ("${env:MMTK_T_ROOT}/a-${env:MMTK_T_COUNT}.tar", "/data/web/a-3.tar"),
        ("${env:MMTK_T_COUNT}", 3),
        ("${ env : MMTK_T_COUNT , 5 }", 3),
        ("${env:MMTK_T_ROOT,nowhere}", "/data/web"),
        ("\\${env:MMTK_T_ROOT}", "${env:MMTK_T_ROOT}"),
        ("\\\\${env:MMTK_T_ROOT}", "\\/data/web"),
        ("${env:MMTK_T_ROOT}-${word}", "/data/web-w"),
    ],
)
def test_what_is_allowed_is_filled_in(tmp_path: Path, text: str, expected: object) -> None:
    data, problems = load(tmp_path, f"{TOP}word: w\na: ['{text}', {{b: '{text}'}}]\n")
    assert problems == []
    assert data["a"] == [expected, {"b": expected}]
    assert type(data["a"][0]) is type(expected)


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("data/web", "data/web"),
        ("2", 2),
        ("1e-3", 1e-3),
        ("true", True),
        ("null", None),
        ("", ""),
        ("a, b", "a, b"),
    ],
)
def test_a_default(tmp_path: Path, default: str, expected: object) -> None:
    data, problems = load(tmp_path, f"environment: [MMTK_T_NONE]\na: '${{env:MMTK_T_NONE,{default}}}'\n")
    assert (problems, data["a"]) == ([], expected)


@pytest.mark.parametrize(
    "value", ["${env:MMTK_T_SECRET}", "${oc.env:MMTK_T_SECRET}", "a ${b}", "\\${b}", "[1, 2]", "{a: b}"]
)
def test_a_value_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MMTK_T_ROOT", value)
    data, problems = load(tmp_path, f"{TOP}b: 1\na: ['${{env:MMTK_T_ROOT}}', '<${{env:MMTK_T_ROOT}}>']\n")
    assert (problems, data["a"]) == ([], [value, f"<{value}>"])


def test_others_are_refused_with_the_way_to_allow_them(tmp_path: Path) -> None:
    data, problems = load(tmp_path, f"{TOP}a: ${{env:HOME}}\nb: x-${{env:MMTK_T_ROTO,d}}\n")
    assert data["a"] is data["b"] is None
    assert problems == [
        "x.yaml:2:4  a: the recipe may not read the environment variable 'HOME'; to allow it, write "
        "at the top of the recipe: environment: [MMTK_T_ROOT, MMTK_T_COUNT, HOME]",
        "x.yaml:3:4  b: the recipe may not read the environment variable 'MMTK_T_ROTO'; did you mean "
        "'MMTK_T_ROOT'? To allow 'MMTK_T_ROTO', write at the top of the recipe: environment: "
        "[MMTK_T_ROOT, MMTK_T_COUNT, MMTK_T_ROTO]",
    ]
    data, (problem,) = load(tmp_path, f"{TOP}a: ${{env:MMTK_T_SECRET,x}}\n")
    assert "hush" not in str(data) + problem


def test_without_a_list_none_may_be_read(tmp_path: Path) -> None:
    _, (problem,) = load(tmp_path, "a: ${env:MMTK_T_ROOT}\n")
    assert problem.endswith("environment: [MMTK_T_ROOT]")


def test_one_that_is_not_set(tmp_path: Path) -> None:
    _, (problem,) = load(tmp_path, "environment: [MMTK_T_NONE]\na: ${env:MMTK_T_NONE}\n")
    assert problem == (
        "x.yaml:2:4  a: the environment variable 'MMTK_T_NONE' is not set; set it, or write a default: "
        "${env:MMTK_T_NONE,VALUE}"
    )


@pytest.mark.parametrize(
    "call",
    ["${env:}", "${env:A B}", "${env:MMTK_T_ROOT,${word}}", "${env:${word}}", "${env:MMTK_T_ROOT,{a: 1}}"],
)
def test_calls_of_another_form(tmp_path: Path, call: str) -> None:
    _, (problem,) = load(tmp_path, f"{TOP}word: w\na: '{call}'\n")
    assert problem.startswith("x.yaml:3:4  a: ")
    assert "write ${env:NAME} or ${env:NAME,DEFAULT}" in problem or "can't read the interpolation" in problem


def test_an_override_reads_what_the_recipe_allows_and_may_allow_more(tmp_path: Path) -> None:
    data, problems = load(tmp_path, f"{TOP}a: 1\n", "a=${env:MMTK_T_COUNT}")
    assert (problems, data["a"]) == ([], 3)
    data, problems = load(tmp_path, "a: 1\n", "a=${env:MMTK_T_COUNT}", "environment=[MMTK_T_COUNT]")
    assert (problems, data["a"]) == ([], 3)


def test_a_definition_may_hold_one_and_be_changed_where_it_is_used(tmp_path: Path) -> None:
    text = TOP + "d: {path: '${env:MMTK_T_ROOT}', n: 1}\ne: ${d}\n"
    data, problems = load(tmp_path, text, "e.n=2")
    assert (problems, data["e"]) == ([], {"path": "/data/web", "n": 2})


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("MMTK_T_ROOT", r"1:14  environment: expected a list, each item text, not 'MMTK_T_ROOT'"),
        ("[a-b]", r"1:15  environment\.0: 'a-b' can't be the name of an environment variable"),
        ("[3]", r"1:15  environment\.0: expected text, not 3"),
    ],
)
def test_the_list_itself_is_checked(tmp_path: Path, listed: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        checked(tmp_path, f"environment: {listed}\nstages: {{make: {{use: make}}}}\n")
