from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.config import Address, Input, Range
from mmtk.recipe.coerce import coerce
from mmtk.recipe.marks import BROKEN, Marked, Place, mark
from mmtk.recipe.nodes import NodeChecker
from mmtk.recipe.site import INVALID, Site
from mmtk.registry import Registry
from tests.host.recipe.parts import Colour, LossConfig, Sizes

PLACE = Address | Path | tuple[Address | Path, ...]


class Level(Enum):
    LOW = 1
    HIGH = 2


def take(value: Any, annotation: Any) -> tuple[Any, list[str]]:
    site = Site("key", [])
    checker = NodeChecker(Registry(), lambda _text, _input: "no stages here")
    found = coerce(mark(value, Place("x")), annotation, site, checker)
    return found, [f"{problem.path}: {problem.message}" for problem in site.problems]


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (0.5, float, 0.5),
        (math.inf, Annotated[float, Range(0, math.inf)], math.inf),
        (-math.inf, Annotated[float | None, Range(-math.inf)], -math.inf),
        (True, bool, True),
        ("3", str, "3"),
        ("a/b", Path, Path("a/b")),
        (Path("a"), Path, Path("a")),
        (None, int | None, None),
        (3, int | None, 3),
        (3, float | None, 3.0),
        ("mean", Literal["mean", "sum"], "mean"),
        (8, Literal[8, 16], 8),
        ("red", Colour, Colour.RED),
        (Colour.BLUE, Colour, Colour.BLUE),
        (2, Level, Level.HIGH),
        ([1, 2], tuple[float, float], (1.0, 2.0)),
        ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
        ([1, 2], list[int], [1, 2]),
        ([1, 2], Sequence[int], (1, 2)),
        ([], Sequence[int], ()),
        ((1, 2), tuple[int, int], (1, 2)),
        (["a", 1], list, ["a", 1]),
        ({"a": 1}, Mapping[str, float], {"a": 1.0}),
        ({"a": [1]}, dict[str, tuple[int, ...]], {"a": (1,)}),
        ({"a": 1}, Mapping, {"a": 1}),
        (3, int | str, 3),
        ("3", int | str, "3"),
        (3, float | int, 3),
        (0.5, int | float, 0.5),
        ("a", Path | tuple[Path, ...], Path("a")),
        (["a", "b"], Path | tuple[Path, ...], (Path("a"), Path("b"))),
        ("s3://a/b", PLACE, "s3://a/b"),
        ("a/b", PLACE, Path("a/b")),
        (["s3://a/b", "c"], PLACE, ("s3://a/b", Path("c"))),
        ({"width": 8, "heads": 2}, Sizes, Sizes(width=8, heads=2)),
        ({}, Sizes, Sizes()),
        ({"a": [1, {"b": None}]}, Any, {"a": [1, {"b": None}]}),
        ("x", object, "x"),
        (0.5, Annotated[float, Range(0, 1)], 0.5),
        (1, Annotated[float, Range(0, 1)], 1.0),
        (None, Annotated[int | None, Range(1)], None),
        (None, Annotated[int, Range(1)] | None, None),
    ],
)
def test_what_fits(value: Any, annotation: Any, expected: Any) -> None:
    found, problems = take(value, annotation)
    assert problems == []
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (True, int, "expected a whole number, not true"),
        (1, bool, "expected true or false, not 1"),
        (True, float, "expected a number, not true"),
        (3.0, int, "expected a whole number, not 3.0"),
        (10**400, float, f"1{'0' * 57}…0 is too large"),
        ("3", int, "expected a whole number, not '3'; write it without the quotes"),
        ("1_000", int, "expected a whole number, not '1_000'; write 1000"),
        ("1_000.5", float, "expected a number, not '1_000.5'; write 1000.5"),
        ("1_000.5", int, "expected a whole number, not '1_000.5'"),
        ("_1", int, "expected a whole number, not '_1'"),
        (3, str, "expected text, not 3; put it in quotes"),
        ([1], str, "expected text, not a list"),
        ({"a": 1}, float, "expected a number, not a mapping"),
        ({"from": "a.b"}, float, "expected a number, not a mapping; it takes no stage's output"),
        (math.nan, float, "expected a number, not NaN"),
        (math.inf, float, "expected a finite number, not .inf"),
        (math.inf, int, "expected a whole number, not .inf"),
        (-math.inf, float | None, "expected a finite number, not -.inf"),
        (math.inf, Annotated[float, Range(0, low_open=True)], "expected a finite number, not .inf"),
        (math.inf, Annotated[float, Range(0, math.inf, high_open=True)], ".inf is outside of [0, inf)"),
        (None, int, "expected a whole number, not null"),
        (None, str, "expected text, not null"),
        (None, list[int], "expected a list, each item a whole number, not null"),
        (None, Sizes, "expected a mapping, not null"),
        (None, int | str, "expected a whole number or text, not null"),
        (None, Literal["a"], "expected 'a', not null"),
        (3, Path, "expected a path, not 3"),
        ("", Path, "expected a path, not an empty text"),
        ("men", Literal["mean", "sum"], "expected one of 'mean', 'sum', not 'men'; did you mean 'mean'?"),
        (9, Literal[8, 16], "expected one of 8, 16, not 9"),
        (True, Literal[1], "expected 1, not true"),
        ("rod", Colour, "expected one of 'red', 'blue', not 'rod'; did you mean 'red'?"),
        ("LOW", Level, "expected one of 1, 2, not 'LOW'"),
        ([1], tuple[int, int], "expected a list of 2: a whole number, a whole number, not a list of 1"),
        (1, tuple[int, ...], "expected a list, each item a whole number, not 1; write [ ] around it"),
        ("ab", Sequence[str], "expected a list, each item text, not 'ab'; write [ ] around it"),
        ([1], Mapping[str, int], "expected a mapping, not a list"),
        ("a", Sizes, "expected a mapping, not 'a'"),
        (3, Sizes, "expected a mapping, not 3"),  # two of its fields take a whole number
        ([8, 8], Sizes, "expected a mapping, not a list"),
        ("sum", LossConfig, "expected a mapping such as {reduce: 'sum'}, not 'sum'"),
        ("sum", LossConfig | None, "expected a mapping such as {reduce: 'sum'}, not 'sum'"),
        ("summ", LossConfig, "expected a mapping such as {reduce: 'sum'}, not 'summ'"),
        ("int9", Literal["int8"], "expected 'int8', not 'int9'"),  # a number is no misspelling of another
        ("i8", Literal["int8", "int4"], "expected one of 'int8', 'int4', not 'i8'; did you mean 'int8'?"),
        (0.5, LossConfig, "expected a mapping such as {smoothing: 0.5}, not 0.5"),
        (7, LossConfig, "expected a mapping, not 7"),
        (0.5, int | str, "expected a whole number or text, not 0.5"),
        ("x", int | None, "expected a whole number, not 'x'"),
        ("x", Literal["y"] | int, "expected 'y', not 'x'"),
        (2, Annotated[float, Range(0, 1)], "2 is outside of [0, 1]"),
        (0, Annotated[int, Range(0, None, low_open=True)], "0 is outside of (0, inf)"),
        (1, Annotated[float, Range(0, 1, high_open=True)], "1 is outside of [0, 1)"),
        (0, Annotated[int | None, Range(1)], "0 is outside of [1, inf)"),
        ("a/b", Address, "expected an address (PROTOCOL://…), not 'a/b'"),
        ("x" * 99, int, f"expected a whole number, not '{'x' * 57}…'"),
    ],
)
def test_what_doesnt_fit(value: Any, annotation: Any, message: str) -> None:
    found, problems = take(value, annotation)
    assert found is INVALID
    assert problems == [f"key: {message}"]


@pytest.mark.parametrize(
    ("value", "annotation", "messages"),
    [
        (["a", 1, "b", 2], list[int], ["key.0: expected a whole number", "key.2: expected a whole number"]),
        ({"a": 1, "b": "x"}, Mapping[str, int], ["key.b: expected a whole number, not 'x'"]),
        (["a", 3], Path | tuple[Path, ...], ["key.1: expected a path, not 3"]),
        ({"width": 6, "heads": 4}, Sizes, ["key.heads: 4 don't divide 6"]),
        ({"widht": 6}, Sizes, ["key.widht: unknown key; did you mean 'width'?"]),
        ({"zzz": 6}, Sizes, ["key.zzz: unknown key; there are: width, heads, shape"]),
        ({"width": 0, "heads": "a"}, Sizes, ["key.width: 0 is outside", "key.heads: expected a whole"]),
        ({"width": "a"}, Sizes | None, ["key.width: expected a whole number, not 'a'"]),
        ({"a": [1]}, dict[str, tuple[int, int]], ["key.a: expected a list of 2"]),
    ],
)
def test_faults_within(value: Any, annotation: Any, messages: list[str]) -> None:
    found, problems = take(value, annotation)
    assert found is INVALID
    assert len(problems) == len(messages)
    assert all(found_.startswith(message) for found_, message in zip(problems, messages, strict=True))


@pytest.mark.parametrize("annotation", [int, int | str, list[int], Any, Sizes, Path, Colour])
def test_a_broken_part_is_not_reported_again(annotation: Any) -> None:
    site = Site("key", [])
    checker = NodeChecker(Registry(), lambda _text, _input: "")
    assert coerce(Marked(BROKEN, Place("x")), annotation, site, checker) is INVALID
    assert site.problems == []


def test_a_broken_part_of_a_union_is_not_reported_again() -> None:
    site = Site("key", [])
    checker = NodeChecker(Registry(), lambda _text, _input: "")
    marked = Marked([Marked(BROKEN, Place("x"))], Place("x"))
    assert coerce(marked, Path | tuple[Path, ...], site, checker) is INVALID
    assert site.problems == []


@dataclass(frozen=True, kw_only=True)
class Limits:
    most: float | None = math.inf
    span: tuple[float, float] = (0.0, math.inf)
    size: float = 1.0


def test_infinity_where_the_default_is() -> None:
    again = {"most": math.inf, "span": [-math.inf, math.inf]}
    assert take(again, Limits) == (Limits(span=(-math.inf, math.inf)), [])
    assert take({"size": math.inf}, Limits)[1] == ["key.size: expected a finite number, not .inf"]


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5)), st.integers(-5, 5), st.integers(-5, 5))
def test_a_list_fits_exactly_if_all_its_items_do(values: list[int], low: int, high: int) -> None:
    found, problems = take(values, tuple[Annotated[int, Range(low, high)], ...])
    outside = [value for value in values if not low <= value <= high]
    assert len(problems) == len(outside)
    assert (found == tuple(values)) is not bool(outside)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
annotations: st.SearchStrategy[Any] = st.sampled_from(
    [int, float, bool, str, Path, int | None, list[int], tuple[int, str], Mapping[str, int], Sizes, Colour,
     Literal["a", 1], int | str, Path | tuple[Path, ...], Any]
)  # fmt: skip


@settings(deadline=None)
@given(plain, annotations)
def test_it_either_fits_or_says_why_not(value: Any, annotation: Any) -> None:
    found, problems = take(value, annotation)
    assert (found is INVALID) == bool(problems)


@settings(deadline=None)
@given(plain, annotations)
def test_what_fits_once_fits_again(value: Any, annotation: Any) -> None:
    found, problems = take(value, annotation)
    if not problems and not isinstance(found, Sizes):
        again, none = take(found, annotation)
        assert none == []
        assert again == found


def test_a_path_among_addresses_must_exist() -> None:
    found, problems = take("no/where", Annotated[PLACE, Input("dataset")])
    assert found is INVALID
    assert len(problems) == 1
    assert problems[0].startswith("key: there is no file or folder no/where, seen from ")
