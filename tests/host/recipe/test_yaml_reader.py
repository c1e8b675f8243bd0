from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.errors import RecipeError
from mmtk.recipe.marks import Marked, Place, at, plain
from mmtk.recipe.problems import Problem, UnreadableError
from mmtk.recipe.yaml_reader import read_yaml


def read(text: str) -> tuple[Marked, list[str]]:
    problems: list[Problem] = []
    return read_yaml(text, "x.yaml", problems), [str(problem) for problem in problems]


def value(text: str) -> Any:
    marked, problems = read(text)
    assert problems == []
    return plain(marked)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        ("-2.5", -2.5),
        (".5", 0.5),
        ("12", 12),
        ("57_600", "57_600"),
        ("1_0", "1_0"),
        ("1_0.5", "1_0.5"),
        ("1.0_1", "1.0_1"),
        ("1.", 1.0),
        ("0x1f", 31),
        ("+3", 3),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("2024-01-02", "2024-01-02"),
        ("1:30", "1:30"),
        ("1.2.3", "1.2.3"),
        ("'3'", "3"),
        ("[1, [a, {b: c}]]", [1, ["a", {"b": "c"}]]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_nan() -> None:
    assert math.isnan(value(".nan"))


def test_places() -> None:
    marked, _ = read("a:\n  b: [1, x]\nlonger: {c: 2}\n")
    inner = at(marked, ["a", "b"])
    assert inner is not None
    assert str(inner.place) == "x.yaml:2:6"
    assert str(inner.key_place) == "x.yaml:2:3"
    second = at(marked, ["a", "b", "1"])
    assert second is not None
    assert str(second.place) == "x.yaml:2:10"
    assert second.key_place is None
    assert second.named_at == second.place
    c = at(marked, ["longer", "c"])
    assert c is not None
    assert (c.place, c.named_at) == (Place("x.yaml", 3, 13), Place("x.yaml", 3, 10))
    assert at(marked, ["a", "b", "2"]) is None
    assert at(marked, ["a", "nowhere"]) is None


def test_a_key_that_stands_twice() -> None:
    marked, problems = read("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert problems == ["x.yaml:4:3  a.b: the key stands twice; the first is at x.yaml:2:3"]
    assert plain(marked) == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize("key", ["1", "true", "null", "[a]", "1.5"])
def test_a_key_must_be_text(key: str) -> None:
    _, problems = read(f"{key}: x\nfine: y\n")
    assert len(problems) == 1
    assert problems[0].startswith("x.yaml:1:1: a key must be text")


def test_anchors_and_merge_keys() -> None:
    text = "base: &base {a: 1, b: {c: 2}}\nnew: {<<: *base, a: 3}\nlist: [*base]\n"
    assert value(text)["new"] == {"a": 3, "b": {"c": 2}}
    assert value(text)["list"] == [{"a": 1, "b": {"c": 2}}]
    both = "x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: [*x, *y]}\n"
    assert value(both)["z"] == {"a": 1, "b": 2}
    marked, _ = read(text)
    inherited = at(marked, ["new", "b", "c"])
    assert inherited is not None
    assert str(inherited.place) == "x.yaml:1:27"


def test_a_merge_key_of_something_else() -> None:
    _, problems = read("a: {<<: 3}\n")
    assert problems == ["x.yaml:1:9  a: '<<' takes a mapping or a list of mappings"]


def test_an_anchor_that_contains_itself() -> None:
    _, problems = read("a: &a [1, *a]\n")
    assert problems == ["x.yaml:1:4  a.1: an anchor that contains itself"]


@pytest.mark.parametrize("text", ["!!python/object:os.system x", "!mine x", "!!int word", "!!float ''"])
def test_tags_are_never_executed(text: str) -> None:
    marked, problems = read(f"a: {text}\n")
    assert len(problems) == 1
    assert problems[0].startswith("x.yaml:1:4  a: the YAML tag '")
    assert plain(marked) == {"a": None}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\nb: 3\n", "x.yaml:2:2"),
        ("a: 'open\n", "x.yaml:1:4"),
        ("a: b: c\n", "x.yaml:1:5"),
        ("\tx: 1", "x.yaml:1:1"),
    ],
)
def test_broken_yaml_says_where(text: str, place: str) -> None:
    with pytest.raises(RecipeError, match=rf"^{place}: not valid YAML: ") as caught:
        read(text)
    assert all(line.startswith("    | ") for line in str(caught.value).split("\n")[1:])


@pytest.mark.parametrize(
    ("text", "place", "shown"),
    [
        ("a: \x00\n", "1:4", r"\x00"),
        ("a: 1\r\nb: 2\u2028c: '\x1b[31m'\n", "3:5", r"\x1b"),
        ("\ufeffa: \x07\n", "1:4", r"\x07"),
    ],
)
def test_control_characters(text: str, place: str, shown: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    first, line, mark = str(caught.value).split("\n")
    fault = f'not valid YAML: the character {shown} is not allowed; write "{shown}" for it'
    assert first == f"x.yaml:{place}: {fault}"
    assert shown in line
    assert line.index(shown) == mark.index("^")


def test_a_control_character_on_the_command_line() -> None:
    origin = Place("command line: a=b\x07", column=3, text="a=b\x07")
    with pytest.raises(UnreadableError) as caught:
        read_yaml("b\x07", "command line", [], origin)
    assert caught.value.problem.place.column == 4


def test_a_document_that_is_nested_too_deeply() -> None:
    with pytest.raises(RecipeError, match=r"^x\.yaml: not valid YAML: nested too deeply$"):
        read("[" * 5000)


def test_two_documents() -> None:
    with pytest.raises(RecipeError, match=r"x\.yaml:2:1"):
        read("a: 1\n---\nb: 2\n")


words = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4)
)


@settings(deadline=None)
@given(documents)
def test_json_means_what_it_means_in_json(data: Any) -> None:
    found = value(json.dumps(data, ensure_ascii=False))
    assert found == data
    assert repr(found) == repr(data)


@settings(deadline=None)
@given(documents)
def test_every_part_has_its_place(data: Any) -> None:
    marked, _ = read(yaml.safe_dump(data, allow_unicode=True))
    waiting = [marked]
    while waiting:
        node = waiting.pop()
        assert node.place.source == "x.yaml"
        assert node.place.line > 0
        if isinstance(node.value, dict):
            assert all(item.key_place is not None for item in node.value.values())
            waiting += node.value.values()
        elif isinstance(node.value, list):
            waiting += node.value


def laughs(levels: int, first: str, form: str) -> str:
    """Anchors of anchors: each level stands for ten of the one above."""
    lines = [f"a0: &a0 {first}"]
    for level in range(1, levels + 1):
        ten = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} " + form.replace("TEN", ten))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("first", "form"),
    [("[x]", "[TEN]"), ("{x: y}", "{k: [TEN]}"), ("{x: y}", "{<<: [TEN]}"), ("[x]", "{'1': [TEN], '2': z}")],
)
def test_aliases_that_blow_up_are_refused_with_their_line(first: str, form: str) -> None:
    with pytest.raises(RecipeError, match=r"^x\.yaml:[56]:\d+: more than 100,000 values, its al"):
        read(laughs(60, first, form))


def test_a_recipe_may_use_aliases_often() -> None:
    document, problems = read(laughs(3, "[x]", "[TEN]"))
    assert problems == []
    assert len(plain(document)["a3"]) == 10


def test_long_documents_are_refused_too() -> None:
    with pytest.raises(RecipeError, match=r"^x\.yaml:1:4: more than 100,000 values"):
        read(f"a: [{'1,' * 100_001}]\n")


@pytest.mark.parametrize("tag", ["!!python/name:os.system", "!!python/object/apply:os.system", "!custom"])
@pytest.mark.parametrize("value", ["[echo hi]", "{a: b}", "x"])
def test_tags_on_anything_are_refused(tag: str, value: str) -> None:
    marked, problems = read(f"a: {tag} {value}\nb: 1\n")
    assert len(problems) == 1
    assert "the YAML tag" in problems[0]
    assert plain(marked) == {"a": None, "b": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x: 1\na:1\nb: 2\n",
            "x.yaml:2:1: not valid YAML: a key needs a colon with a blank behind it: KEY: ",
        ),
        (
            "a:1\nb: 2\n",
            "x.yaml:2:2: not valid YAML: a ': ' behind no key: a value that has one needs quotes,",
        ),
        ("a:\n  b: 1\n c: 2\n", "x.yaml:3:2: not valid YAML: the indentation doesn't fit the lines above"),
        (
            "a: 1\n---\nb: 2\n",
            "x.yaml:2:1: not valid YAML: a second document begins here, and a recipe is one",
        ),
        ("a:\n\tb: 1\n", "x.yaml:2:1: not valid YAML: a tab; YAML is indented with blanks"),
        (
            "a: b: c\n",
            "x.yaml:1:5: not valid YAML: a ': ' behind no key: a value that has one needs quotes, the",
        ),
        (
            "a: {b: 1\nc: 2\n",
            "x.yaml:2:2: not valid YAML: expected ',' or '}', but got ':'; the bracket of x.yaml:1:4",
        ),
        ('x: 1\na: "open\nb: 2\nc: 3\n', "x.yaml:2:4: not valid YAML: the quote isn't closed"),
        ("a: 'open\n---\nb: 2\n", "x.yaml:1:4: not valid YAML: the quote isn't closed"),
        (
            "a: [1\n",
            "x.yaml:2:1: not valid YAML: expected ',' or ']', but got '<stream end>'; the bracket of",
        ),
    ],
)
def test_broken_yaml_is_explained(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert str(caught.value).startswith(message)


def test_what_is_nested_too_deeply_has_its_place() -> None:
    problems: list[Problem] = []
    read_yaml("b: 1\na: " + "[" * 50 + "]" * 50 + "\n", "x.yaml", problems)
    (problem,) = problems
    assert (problem.place.line, problem.message) == (2, "nested more than 40 levels deep")
