from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from mmtk.config import NodeDefault, Range, Slot
from mmtk.errors import PluginError
from mmtk.kinds import Blueprint, Loss
from mmtk.recipe.schema import REQUIRED, component_schema, dataclass_keys, signature_keys
from mmtk.registry import Component, Registration
from tests.host.recipe.parts import HeadConfig, SignatureHead, WorkConfig

if TYPE_CHECKING:
    from mmtk.nowhere import Hidden

HERE = "tests.host.recipe.test_schema"


@dataclass(frozen=True, kw_only=True)
class HiddenConfig:
    value: Hidden


@dataclass(frozen=True, kw_only=True)
class ReservedConfig:
    use: str = ""


@dataclass(frozen=True, kw_only=True)
class DerivedConfig(HeadConfig):
    own: Path
    derived: int = dataclasses.field(init=False, default=3)


class NoDataclass:
    value: int = 0


def hidden_factory(value: Hidden) -> None: ...


def open_factory(count: int, **rest: Any) -> None: ...


class Inherits(SignatureHead):
    pass


def registered(config: str | None, factory: str = "open_factory") -> Registration:
    component = Component("head", "x", f"{HERE}:{factory}", f"{HERE}:{config}" if config else None)
    return Registration(component, "plug", "mmtk-plug", "0.1")


def test_the_fields_of_a_config() -> None:
    keys = dataclass_keys(HeadConfig)
    assert list(keys) == ["loss", "negatives", "weight"]
    assert keys["loss"].default == NodeDefault("smooth", {"smoothing": 0.2})
    assert keys["loss"].annotation == Annotated[Blueprint[Loss], Slot("loss")]
    assert keys["weight"].annotation == Annotated[float, Range(0)]
    assert dataclass_keys(HeadConfig) is keys


def test_inherited_fields_and_required_ones() -> None:
    keys = dataclass_keys(DerivedConfig)
    assert set(keys) == {"loss", "negatives", "weight", "own"}
    assert keys["own"].default is REQUIRED
    assert "OUTPUTS" not in dataclass_keys(WorkConfig)


@pytest.mark.parametrize("factory", [SignatureHead, Inherits])
def test_a_signature(factory: type) -> None:
    keys = signature_keys(factory, ("model",))
    assert list(keys) == ["scale", "loss", "loose"]
    assert keys["scale"].annotation == Annotated[float, Range(0)]
    assert keys["loss"].default == NodeDefault("smooth", {})
    assert keys["loose"].annotation is Any
    assert list(signature_keys(factory, ())) == ["model", "scale", "loss", "loose"]


def test_a_signature_with_open_keywords() -> None:
    keys = signature_keys(open_factory, ())
    assert list(keys) == ["count"]
    assert keys["count"].default is REQUIRED


def test_a_factory_without_parameters() -> None:
    assert signature_keys(NoDataclass, ()) == {}
    assert signature_keys(lambda: None, ()) == {}


def test_an_injected_value_needs_no_readable_annotation() -> None:
    assert signature_keys(hidden_factory, ("value",)) == {}


@pytest.mark.parametrize(
    ("registration", "message"),
    [
        (registered("HiddenConfig"), r"HiddenConfig can't be read: name 'Hidden' is not defined"),
        (registered("NoDataclass"), r"NoDataclass can't be read: .* is no dataclass"),
        (registered("HERE"), r"HERE can't be read: .* is no dataclass"),
        (registered("ReservedConfig"), r"'use' has a meaning of its own in recipes and can't name a field"),
        (registered(None, "hidden_factory"), r"hidden_factory can't be read: name 'Hidden' is not defined"),
    ],
)
def test_what_cant_be_read_is_the_plugins_fault(registration: Registration, message: str) -> None:
    with pytest.raises(PluginError, match=rf"^head 'x' \(from plug/mmtk-plug 0.1\): .*{message}"):
        component_schema(registration)


def test_outputs_come_from_the_config_or_the_factory() -> None:
    work = Component("stage", "w", f"{HERE}:open_factory", "tests.host.recipe.parts:WorkConfig")
    assert list(component_schema(Registration(work, "p", "d", "1")).outputs) == ["result"]
    without = Component("stage", "w", "tests.host.recipe.parts:WorkConfig")
    assert list(component_schema(Registration(without, "p", "d", "1")).outputs) == ["result"]
    assert component_schema(registered(None)).outputs == {}
