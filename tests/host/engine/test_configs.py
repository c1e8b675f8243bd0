from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from typing import Any

import pytest

from mmtk.engine.components import COMPONENTS
from mmtk.engine.configs import AdamWConfig, TrainConfig
from mmtk.types import ComponentNode

HEADS = {"itc": ComponentNode("head", "itc")}


def problems(**fields: Any) -> list[str]:
    keys: dict[str, Any] = {"model": None, "heads": HEADS, "data": None, "epochs": 1} | fields
    keys.setdefault("loggers", {"figures": ComponentNode("logger", "builtin/jsonl")})
    return [f"{field}: {message}" for field, message in TrainConfig(**keys).check()]


def test_good_config_has_no_problems() -> None:
    assert problems() == []


def test_no_heads() -> None:
    assert problems(heads={}) == [
        "heads: needs at least one head: without an objective there is nothing to train"
    ]


def test_head_names_can_stand_in_weight_names() -> None:
    assert problems(heads={"a.b": ComponentNode("head", "itc")}) == [
        "heads.a.b: the name of a head is made of letters, digits and underscores"
    ]


def test_metrics_output_needs_its_logger() -> None:
    found = problems(loggers={"board": ComponentNode("logger", "tensorboard")})
    assert found == ["loggers: needs a `jsonl` logger: it writes the stage's output metrics.jsonl"]


@pytest.mark.parametrize("betas", [(1.0, 0.999), (0.9, -0.1)])
def test_betas_out_of_range(betas: tuple[float, float]) -> None:
    assert [field for field, _ in AdamWConfig(betas=betas).check()] == ["betas"]


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_factories_take_what_their_configs_name(component: Any) -> None:
    import inspect

    def load(place: str) -> Any:
        module, _, name = place.partition(":")
        return getattr(importlib.import_module(module), name)

    config, factory = load(component.config), load(component.factory)
    assert config.__doc__
    assert dataclasses.is_dataclass(config)
    if component.kind == "stage":
        return  # takes its config's fields as they are
    parameters = inspect.signature(factory).parameters
    fields = {field.name for field in dataclasses.fields(config)}
    assert set(parameters) - {"folder"} == fields
    for field in dataclasses.fields(config):
        default = parameters[field.name].default
        assert field.default == default or default is inspect.Parameter.empty, field.name


def test_configs_and_components_import_no_torch() -> None:
    code = "import sys, mmtk.engine.configs, mmtk.engine.components; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
