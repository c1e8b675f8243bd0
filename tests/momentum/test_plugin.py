"""What the plugin names exists, and its configs are what the constructors take."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys

import pytest
from mmtk_momentum.plugin import mmtk_components

from mmtk.api import Component
from mmtk.kinds import KINDS

COMPONENTS = mmtk_components()


def test_the_components() -> None:
    assert [(component.kind, component.name) for component in COMPONENTS] == [
        ("momentum", "ema"),
        ("negatives", "itc_weighted"),
        ("negatives", "hardest"),
        ("negatives", "random"),
    ]


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_a_constructor_takes_the_fields_of_its_config(component: Component) -> None:
    assert component.config is not None
    factory, config = (attribute(spec) for spec in (component.factory, component.config))
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    taken = inspect.signature(factory).parameters
    assert set(taken) == fields.keys() | set(KINDS[component.kind].injected)
    assert all(taken[name].default == default for name, default in fields.items())


def attribute(spec: str) -> type:
    module, _, name = spec.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def test_listing_imports_no_torch() -> None:
    code = "import sys, mmtk_momentum.plugin, mmtk_momentum.configs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
