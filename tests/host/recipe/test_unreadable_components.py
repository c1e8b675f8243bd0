"""A component whose config can't be read takes nothing away from the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import pytest
from jsonschema import Draft7Validator

from mmtk.config import Slot
from mmtk.discover.component_page import component_page
from mmtk.errors import PluginError
from mmtk.kinds import KINDS, Blueprint, Reader
from mmtk.recipe.json_schema import recipe_schema
from mmtk.registry import Component, Registration, Registry
from tests.host.recipe.parts import COMPONENTS, HERE
from tests.host.recipe.test_annotations import HERE as ODD

UNREADABLE = ("HoldsHidden", "Unparsable", "NoDefault", "EnumConfig", "NoSuchConfig")


class Objects(Enum):
    ONE = object()


@dataclass(frozen=True, kw_only=True)
class EnumConfig:
    value: Objects = Objects.ONE


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    path: str
    column: str


@dataclass(frozen=True, kw_only=True)
class WordsConfig:
    reader: Annotated[Blueprint[Reader], Slot("reader")]


WORDS = Component("stage", "words", f"{HERE}:Stage_", f"{__name__}:WordsConfig")


def registry(unreadable: str) -> Registry:
    where = __name__ if unreadable == "EnumConfig" else ODD
    odd = [Component(kind, "odd", f"{HERE}:Stage_", f"{where}:{unreadable}") for kind in KINDS]
    reader = Component("reader", "good", f"{HERE}:Stage_", f"{__name__}:ReaderConfig")
    fine = [Registration(one, "parts", "mmtk-parts", "1.2") for one in (*COMPONENTS, reader)]
    return Registry([*fine, *(Registration(one, "plug", "dist-odd", "1.0") for one in odd)])


@pytest.mark.parametrize("unreadable", UNREADABLE)
def test_the_schema_is_open_there_and_nowhere_else(unreadable: str) -> None:
    schema = json.loads(json.dumps(recipe_schema(registry(unreadable)), allow_nan=False))
    Draft7Validator.check_schema(schema)
    assert schema["definitions"]["stage.plug.odd"] == {"type": "object"}
    assert not schema["definitions"]["stage.parts.strict"]["additionalProperties"]
    validator = Draft7Validator(schema)
    assert validator.is_valid({"stages": {"a": {"use": "odd", "anything": 1}}})
    assert not validator.is_valid({"stages": {"a": {"use": "strict", "needed": "x", "also": "y"}}})


@pytest.mark.parametrize("unreadable", UNREADABLE)
def test_the_others_have_their_pages(unreadable: str) -> None:
    everything = registry(unreadable)
    assert component_page(everything.get("stage", "strict"), everything).example == {
        "use": "strict",
        "needed": 2,
        "also": "path/to/blob",
    }
    page = component_page(Registration(WORDS, "parts", "mmtk-parts", "1.2"), everything)
    assert page.example["reader"] == {"use": "good", "path": "path", "column": "column"}
    with pytest.raises(PluginError, match=r"stage 'odd' \(from plug/dist-odd 1.0\)"):
        component_page(everything.get("stage", "odd"), everything)
