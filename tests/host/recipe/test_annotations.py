from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, Flag
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import pytest

from mmtk.config import Address, Input, Range, Slot
from mmtk.errors import PluginError
from mmtk.kinds import Blueprint
from mmtk.recipe.annotations import refuse_unfillable, without_new_types
from mmtk.recipe.coerce import coerce
from mmtk.recipe.marks import Place, mark
from mmtk.recipe.nodes import NodeChecker
from mmtk.recipe.schema import component_schema
from mmtk.recipe.site import Site
from mmtk.registry import Component, Registration, Registry
from tests.host.recipe.parts import Colour, LossConfig, Sizes

if TYPE_CHECKING:
    from decimal import Decimal

HERE = "tests.host.recipe.test_annotations"
UserId = NewType("UserId", int)
Share = NewType("Share", Annotated[float, Range(0, 1)])


class Point(NamedTuple):
    x: int


class Typed(TypedDict):
    x: int


class Bits(Flag):
    ONE = 1


class Pairs(Enum):
    ONE = (1, 2)


class Nothing(Enum):
    pass


@dataclass(frozen=True, kw_only=True)
class Hidden:
    price: Decimal


@dataclass(frozen=True, kw_only=True)
class HoldsHidden:
    parts: Mapping[str, Hidden | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tree:
    kids: list[Tree] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class HoldsTree:
    tree: Tree = field(default_factory=Tree)


@dataclass(frozen=True, kw_only=True)
class Unparsable:
    value: "1 +" = 1  # noqa: F722


@dataclass(frozen=True, kw_only=True)
class NoDefault:
    value: str = field(default_factory=lambda: os.environ["MMTK_TEST_NOT_SET"])


@dataclass(frozen=True, kw_only=True)
class WrongOutputs:
    OUTPUTS = {"blob": "blob.bin"}  # noqa: RUF012


@dataclass(frozen=True, kw_only=True)
class TextFaults:
    value: int = 0

    def check(self) -> Iterator[str]:
        yield "ab"


def odd_factory(value: frozenset[int] = frozenset()) -> None: ...


def registered(config: str | None, factory: str = "builtins:dict") -> Registration:
    component = Component("stage", "odd", factory, f"{HERE}:{config}" if config else None)
    return Registration(component, "plug", "dist-odd", "1.0")


@pytest.mark.parametrize(
    "annotation",
    [
        *(int, float, bool, str, Path, Address, Any, object, Colour, Bits, Sizes, list, dict, tuple, Mapping),
        *(Literal["a", 3, True, None], int | None, UserId, Share, list[UserId], tuple[int, ...]),
        *(tuple[int, str], Sequence[Path], Mapping[str, float], dict[str, dict[str, Any]], dict[Any, int]),
        *(Annotated[Blueprint[Any], Slot("head")], Annotated[dict[str, Blueprint[Any]] | None, Slot("head")]),
        Annotated[Address | Path | tuple[Address | Path, ...], Input("dataset")],
    ],
)
def test_what_a_recipe_can_fill(annotation: Any) -> None:
    records: list[type] = []
    refuse_unfillable(annotation, records.append)
    assert records == ([Sizes] if annotation is Sizes else [])


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (set[str], r"the type set\[str\] can't be filled by a recipe"),
        (list[set[str]], r"the type set\[str\] can't be filled"),
        (int | bytes, "the type bytes can't be filled"),
        (deque[int], r"the type collections.deque\[int\] can't be filled"),
        (OrderedDict[str, int], "can't be filled"),
        (Point, "the type Point can't be filled"),
        (Typed, "the type Typed can't be filled"),
        (Callable[[int], int], "can't be filled"),
        (type[int], "can't be filled"),
        (NewType("Ids", set), "the type set can't be filled"),
        (Mapping[int, float], r"the keys of a recipe's mappings are texts, so .*Mapping\[int, float\] can't"),
        (dict[Path, int], "the keys of a recipe's mappings are texts"),
        (Literal["a", b"b"], "has the value b'b', which no recipe can write"),
        (Literal[Colour.RED], "has the value <Colour.RED: 'red'>, which no recipe"),
        (Pairs, r"the enum Pairs has the value \(1, 2\), which no recipe can write"),
        (Nothing, "the enum Nothing has no values"),
        (Blueprint[Any], "its type says Blueprint, but no Slot says of which kind"),
        (Blueprint, "no Slot says of which kind"),
    ],
)
def test_what_it_cant_fill(annotation: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        refuse_unfillable(annotation, lambda _config: None)


@pytest.mark.parametrize(
    ("registration", "message"),
    [
        (
            registered("HoldsHidden"),
            "HoldsHidden can't be read: 'parts': Hidden can't be read: name 'Decimal'",
        ),
        (registered("HoldsTree"), r"HoldsTree can't be read: 'tree': 'ids': the type set\[int\] can't be"),
        (registered("Unparsable"), "Unparsable can't be read: .*expression.* '1 \\+'"),
        (registered("NoDefault"), "'value': its default can't be made: KeyError: 'MMTK_TEST_NOT_SET'"),
        (registered("WrongOutputs"), r"OUTPUTS must be a mapping of names to Output\(ARTIFACT, PATH\), not"),
        (registered(None), "builtins:dict can't be read: ValueError: no signature found"),
        (registered(None, f"{HERE}:odd_factory"), r"'value': the type frozenset\[int\] can't be filled"),
    ],
)
def test_what_is_wrong_with_a_config_is_said_of_its_component(
    registration: Registration, message: str
) -> None:
    for _again in range(2):
        with pytest.raises(PluginError, match=rf"^stage 'odd' \(from plug/dist-odd 1.0\): its .*{message}"):
            component_schema(registration)


def test_a_check_that_gives_no_pairs_is_the_plugins_fault() -> None:
    site = Site("stages.s", [])
    checker = NodeChecker(Registry([registered("TextFaults")]), lambda _text, _input: "")
    checker.component(mark({"use": "odd"}, Place("x")), "stage", site)
    (problem,) = site.problems
    assert problem.message == "its config's check gives 'ab', which is no pair of a key and a message"
    assert problem.owner == "odd, from plug/dist-odd 1.0"


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (3, UserId, ""),
        ("x", UserId, "expected a whole number, not 'x'"),
        (0.5, Share, ""),
        (1.5, Share, "1.5 is outside of [0, 1]"),
        ([1, "x"], list[UserId], "expected a whole number, not 'x'"),
        (None, Literal["x", None], ""),
        ("y", Literal["x", None], "expected one of 'x', null, not 'y'"),
        (None, Literal["x"], "expected 'x', not null"),
    ],
)
def test_new_types_and_null_among_choices(value: Any, annotation: Any, message: str) -> None:
    site = Site("key", [])
    found = coerce(
        mark(value, Place("x")), annotation, site, NodeChecker(Registry(), lambda _text, _input: "")
    )
    assert [problem.message for problem in site.problems] == ([message] if message else [])
    assert message or found == value


def test_an_address_stays_what_it_is() -> None:
    assert without_new_types(Address) is Address
    assert without_new_types(NewType("Other", UserId)) is int
    assert without_new_types(LossConfig) is LossConfig
