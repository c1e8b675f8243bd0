from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys
import typing

import pytest

from mmtk.data.components import COMPONENTS
from mmtk.data.configs import BlipTestConfig, BlipTrainConfig, DataConfig
from mmtk.kinds import KINDS
from mmtk.registry import Component


def load(place: str) -> typing.Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def parameters(place: str) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(load(place)).parameters.items() if name != "self"}


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_a_factory_takes_what_its_config_has_with_the_same_defaults(component: Component) -> None:
    assert component.config is not None
    assert component.kind in KINDS
    assert component.summary
    taken = parameters(component.factory)
    fields = {field.name: field for field in dataclasses.fields(load(component.config))}
    assert list(taken) == list(fields)
    for name, field in fields.items():
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        assert taken[name].default == default, name


def test_configs_import_no_torch() -> None:
    code = "import mmtk.data.components, mmtk.data.configs, sys; print({'torch', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scale": (0.5, 0.2)}, "scale"),
        ({"scale": (0, 1)}, "scale"),
        ({"ratio": (2, 1)}, "ratio"),
        ({"std": (1, 1, 0)}, "std"),
    ],
)
def test_contradictions_are_found(changes: dict[str, typing.Any], field: str) -> None:
    problems = list(BlipTrainConfig(**changes).check())
    assert [name for name, _ in problems] == [field]
    assert problems[0][1].startswith("must be")


@pytest.mark.parametrize("directions", [(), ("left", ""), ("*",)])
def test_directions_must_be_words(directions: tuple[str, ...]) -> None:
    problems = list(BlipTrainConfig(flip="auto", directions=directions).check())
    assert problems == [("directions", "needs words; to mirror all pictures, write flip: true")]


def test_defaults_hold_no_contradiction() -> None:
    assert list(BlipTrainConfig().check()) == []
    assert list(BlipTestConfig().check()) == []
    assert [field for field, _ in BlipTestConfig(std=(0, 1, 1)).check()] == ["std"]
    assert [field for field, _ in DataConfig(sources={}).check()] == ["sources"]


@pytest.mark.parametrize("config", [c.config for c in COMPONENTS] + ["mmtk.data.configs:DataConfig"])
def test_annotations_can_be_read(config: str) -> None:
    hints = typing.get_type_hints(load(config), include_extras=True)
    assert set(hints) >= {field.name for field in dataclasses.fields(load(config))}
