"""What ``mmtk show`` says of configs of all sorts, and that its examples pass the check."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, make_dataclass
from enum import Enum
from typing import Annotated, Any, Literal, NewType

import pytest

from mmtk.cli.show import _key_lines
from mmtk.config import Address, Range
from mmtk.discover.component_page import ComponentPage, component_page
from mmtk.recipe.marks import Place, mark
from mmtk.recipe.nodes import NodeChecker
from mmtk.recipe.site import Site
from mmtk.registry import Component, Registration, Registry

UserId = NewType("UserId", int)


class Color(Enum):
    RED = "red"
    DARK = 2


@dataclass(frozen=True, kw_only=True)
class InnerConfig:
    size: Annotated[int, Range(1)] = 2
    """How large."""
    color: Color = Color.DARK


@dataclass(frozen=True, kw_only=True)
class Other:
    size: float


@dataclass(frozen=True, kw_only=True)
class Kid:
    kids: list[Kid]
    named: Mapping[str, Kid]
    friend: Kid | None
    pair: tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Oroboros:
    tail: Oroboros


@dataclass(frozen=True, kw_only=True)
class NestedConfig:
    inner: InnerConfig = InnerConfig(size=7)
    either: InnerConfig | Other
    kids: list[Kid] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class NeedyConfig:
    color: Color
    free: dict
    words: list
    kid: Kid
    user: UserId
    place: Address
    choice: Literal["x", 3, None]
    maybe: int | None


@dataclass(frozen=True, kw_only=True)
class EndlessConfig:
    snake: Oroboros


Level = NestedConfig
for number in range(6):
    Level = make_dataclass(f"Level{number}", [("below", Level)], frozen=True, kw_only=True)


def registry() -> Registry:
    here = __name__
    configs = ("NestedConfig", "NeedyConfig", "EndlessConfig", "Level")
    components = [Component("stage", one, "builtins:dict", f"{here}:{one}") for one in configs]
    return Registry(Registration(one, "plug", "dist", "1.0") for one in components)


def page(config: str) -> ComponentPage:
    return component_page(registry().get("stage", config), registry())


def test_nested_keys_stand_below_the_key_that_takes_them() -> None:
    assert list(_key_lines(page("NestedConfig").keys, "")) == [
        "inner: keys of Inner, default {size: 7}",
        "    size: whole number from 1, default 7",
        "        How large.",
        "    color: `red` or `2`, default 2",
        "either: keys of Inner or keys of Other, required",
        "    Keys of Inner:",
        "    size: whole number from 1, default 2",
        "        How large.",
        "    color: `red` or `2`, default 2",
        "    Keys of Other:",
        "    size: number, required",
        "kids: list of keys of Kid, default []",
        "    kids: list of keys of Kid, required",
        "    named: mapping of keys of Kid, required",
        "    friend: keys of Kid or null, required",
        "    pair: list of 2: text, required",
    ]


def test_choices_and_new_types_in_words() -> None:
    types = {key.name: key.type for key in page("NeedyConfig").keys}
    assert types["color"] == "`red` or `2`"
    assert types["user"] == "whole number"
    assert types["place"] == "address"
    assert types["choice"] == "`x` or `3` or `null`"


@pytest.mark.parametrize("config", ["NestedConfig", "NeedyConfig"])
def test_an_example_passes_the_check(config: str) -> None:
    found = page(config)
    problems: list[Any] = []
    checker = NodeChecker(registry(), lambda _text, _input: "")
    checker.component(mark(found.example, Place("x")), "stage", Site("", problems))
    assert problems == []
    assert {key.name for key in found.keys if not key.default} == found.example.keys() - {"use"}


def test_a_config_that_needs_itself_has_an_example_all_the_same() -> None:
    assert page("EndlessConfig").example == {"use": "EndlessConfig", "snake": "SOME_SNAKE"}


def test_a_page_is_plain_data_with_the_nested_keys() -> None:
    data = json.loads(json.dumps(asdict(page("NestedConfig"))))
    (inner,) = (key for key in data["keys"] if key["name"] == "inner")
    assert [key["name"] for key in inner["records"]["Inner"]] == ["size", "color"]
    assert max(depths(data["keys"])) == 2


def test_nested_keys_end_at_some_depth() -> None:
    assert max(depths(json.loads(json.dumps(asdict(page("Level"))))["keys"])) == 5


def depths(keys: list[dict[str, Any]], depth: int = 1) -> Iterator[int]:
    for key in keys:
        yield depth
        for nested in key["records"].values():
            yield from depths(nested, depth + 1)
