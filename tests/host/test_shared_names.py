"""Several plugins with components of one name: what worked still works when a package is installed."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from mmtk import plugins
from mmtk.api import Component, hookimpl
from mmtk.cli import main
from mmtk.errors import RecipeError
from mmtk.plugins import GROUP
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.build import blueprint
from mmtk.registry import Registration, Registry
from mmtk.stages.context import Output
from tests.host.recipe.parts import COMPONENTS, Loss_

HERE = "tests.host.test_shared_names"
RIVAL = Component("loss", "smooth", f"{HERE}:Rival")
WORK = """
stages:
  work:
    use: work
    heads: {one: {use: itm}, two: {use: itm, loss: {reduce: sum}}}
"""
real_entry_points = plugins.entry_points


class Rival:
    """A loss that takes other keys than the one whose name it has."""

    def __init__(self, strength: int = 1) -> None:
        self.strength = strength


class Nap:
    OUTPUTS = {"dream": Output("dream", "dream.txt")}  # noqa: RUF012

    def __init__(self, minutes: int = 1) -> None:
        self.minutes = minutes

    def run(self, context: Any) -> None:
        (context.folder / "dream.txt").write_text(f"{self.minutes}")


def with_rival(distribution: str) -> Registry:
    """The components of the tests, as ``distribution`` brings them, and a rival's of one name."""
    known = [Registration(component, "parts", distribution, "1.2") for component in COMPONENTS]
    return Registry([*known, Registration(RIVAL, "rival", "rivals", "9.9")])


def work(folder: Path, text: str, registry: Registry) -> Any:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return check_recipe(load_recipe(path), registry).stages["work"].node


@pytest.mark.parametrize(("distribution", "use"), [("mmtk", "smooth"), ("mmtk-parts", "parts/smooth")])
def test_defaults_keep_the_component_that_they_mean(distribution: str, use: str, tmp_path: Path) -> None:
    registry = with_rival(distribution)
    heads = work(tmp_path, WORK, registry).keys["heads"]
    assert [heads[name].keys["loss"].use for name in ("one", "two")] == [use, use]
    assert heads["two"].keys["loss"].keys == {"smoothing": 0.2, "reduce": "sum"}
    assert isinstance(blueprint(heads["one"].keys["loss"], registry, {}).build(), Loss_)


def test_a_name_in_a_recipe_means_the_one_that_comes_with_mmtk(tmp_path: Path) -> None:
    text = f"{WORK}    parts: [{{use: smooth}}, {{use: rival/smooth}}]\n"
    parts = work(tmp_path, text, with_rival("mmtk")).keys["parts"]
    assert [part.use for part in parts] == ["smooth", "rival/smooth"]
    assert parts[1].keys == {"strength": 1}
    with pytest.raises(
        RecipeError, match="loss 'smooth' is offered by several plugins; write 'parts/smooth' "
    ):
        work(tmp_path, text, with_rival("mmtk-parts"))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Plugins beside those that are really installed."""
    added: list[EntryPoint] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*real_entry_points(group=group), *added])
    yield added
    for one in added:
        sys.modules.pop(one.value, None)


def plugin(name: str, *components: Component) -> EntryPoint:
    module = types.ModuleType(f"shared_names_of_{name}")

    def mmtk_components() -> tuple[Component, ...]:
        return components

    vars(module)["mmtk_components"] = hookimpl(mmtk_components)
    sys.modules[module.__name__] = module
    return EntryPoint(name, module.__name__, GROUP)


def test_a_finished_run_is_run_again_beside_a_rival_of_its_plugin(
    installed: list[EntryPoint], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = tmp_path / "nap.yaml", tmp_path / "run"
    recipe.write_text(f"device: cpu\nrun_dir: {run}\nstages: {{nap: {{use: nap}}}}\n")
    installed.append(plugin("sleepy", Component("stage", "nap", f"{HERE}:Nap")))
    assert main(["run", str(recipe)]) == 0
    installed.append(plugin("drowsy", Component("stage", "nap", f"{HERE}:Rival")))
    capsys.readouterr()
    assert main(["run", str(run)]) == 0
    assert "already done" in capsys.readouterr().out
    assert main(["run", str(recipe)]) == 2
    assert "write 'drowsy/nap' (unknown unknown) or 'sleepy/nap'" in capsys.readouterr().err


def test_the_commands_tell_how_a_recipe_names_it(
    installed: list[EntryPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    installed.append(plugin("rival", Component("loss", "cross_entropy", f"{HERE}:Rival")))
    assert main(["list-plugins", "--kind", "loss"]) == 0
    hint = "others offer one of this name; write 'rival/cross_entropy' in recipes"
    said = capsys.readouterr().out
    assert f"loss 'cross_entropy' of rival/unknown unknown: {hint}" in said
    assert said.count("others offer") == 1
    assert main(["show", "cross_entropy"]) == 0
    assert "thers offer" not in capsys.readouterr().out
    assert main(["show", "loss", "rival/cross_entropy"]) == 0
    shown = capsys.readouterr().out
    assert "Others offer one of this name; write 'rival/cross_entropy' in recipes." in shown
    assert "use: rival/cross_entropy" in shown


def test_the_schema_takes_the_names_that_the_check_takes(
    installed: list[EntryPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    installed.append(plugin("rival", Component("loss", "cross_entropy", f"{HERE}:Rival")))
    assert main(["schema"]) == 0
    kind = json.loads(capsys.readouterr().out)["definitions"]["kind.loss"]
    names = kind["properties"]["use"]["anyOf"][0]["enum"]
    assert {"cross_entropy", "rival/cross_entropy"} <= set(names)
    (rivals,) = [one["if"] for one in kind["allOf"] if "rival/cross_entropy" in str(one["if"])]
    assert rivals["properties"]["use"]["enum"] == ["rival/cross_entropy"]
