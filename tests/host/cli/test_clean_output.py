"""The standard output of commands is what they are asked for, whatever plugins print or fail in meanwhile."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmtk import plugins
from mmtk.cli import main
from mmtk.plugins import entry_points as real_entry_points

PLUGIN = """
print("import of {name}")
from mmtk.api import Component, hookimpl

@hookimpl
def mmtk_components():
    print("components of {name}")
    return [Component("loss", "loud", "{name}_config:Loss", "{name}_config:Config")]

@hookimpl
def mmtk_recipe_defaults():
    print("defaults of {name}")
    raise ValueError("no defaults")
"""
CONFIG = """
print("config of {name}")
from dataclasses import dataclass, field

def default():
    print("default of {name}")
    return 1

@dataclass(frozen=True, kw_only=True)
class Config:
    \"\"\"A loss.\"\"\"
    a: int = field(default_factory=default)

class Loss:
    \"\"\"A loss.\"\"\"
"""


@pytest.fixture
def loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a plugin that prints whenever it can; return its module's name."""
    name = f"loud_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(PLUGIN.format(name=name))
    (tmp_path / f"{name}_config.py").write_text(CONFIG.format(name=name))
    monkeypatch.syspath_prepend(str(tmp_path))
    loud = EntryPoint("loud", name, "mmtk")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*real_entry_points(group=group), loud])
    return name


def outputs(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    assert main(list(words)) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.mark.parametrize(
    "words", [["list-plugins", "--json"], ["schema"], ["show", "loss", "loud", "--json"]]
)
def test_json_is_json(loud: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    printed, beside = outputs(capsys, *words)
    assert json.loads(printed)
    assert f"import of {loud}" in beside
    assert f"components of {loud}" in beside
    if words != ["list-plugins", "--json"]:
        assert f"config of {loud}" in beside
        assert f"default of {loud}" in beside


@pytest.mark.parametrize(
    ("words", "first"), [(["graph", "--mermaid"], "flowchart TD"), (["run", "--resolved"], "name: small")]
)
def test_a_recipe_is_told_alone(
    loud: str, words: list[str], first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe: dict[str, Any] = {
        "name": "small",
        "stages": {"emoji": {"use": "emoji_data", "categories": ["food-drink"]}},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(recipe))
    printed, beside = outputs(capsys, *words, str(path))
    assert printed.splitlines()[0] == first
    assert loud not in printed
    assert "failed in its hook" not in printed
    assert f"defaults of {loud}" in beside
    assert "mmtk: plugin 'loud' (unknown unknown) failed in its hook mmtk_recipe_defaults" in beside
