"""A recipe's keys beside its stages, and what they are where the recipe leaves them out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from mmtk.config import Range
from mmtk.recipe.marks import Marked, Place, literal, mark, plain
from mmtk.recipe.nodes import NodeChecker
from mmtk.recipe.site import Site
from mmtk.recipe.variables import VARIABLE
from mmtk.recipe.wording import show
from mmtk.registry import Registry

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A recipe's keys beside its stages."""

    name: str = ""
    """The run's name; the file's name if it is left out."""
    description: str = ""
    """What the recipe is for."""
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Everything random in the run comes from it."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    run_dir: Path | None = None
    """The run's folder; ``runs/NAME`` if it is left out."""
    environment: tuple[str, ...] = ()
    """Environment variables that the recipe may read as ``${env:NAME}``."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.name and not re.fullmatch(r"[\w.-]*\w", self.name):
            yield "name", f"'{self.name}' can't name a folder; use letters, digits, '_', '-' and '.'"
        for index, name in enumerate(self.environment):
            if not VARIABLE.fullmatch(name):
                yield f"environment.{index}", f"'{name}' can't be the name of an environment variable"
        if not DEVICE.fullmatch(self.device):
            yield "device", f"expected auto, cpu, cuda or cuda:N, not '{self.device}'"


def default_name(recipe: Path) -> str:
    """Return the name of a recipe that gives itself none."""
    return recipe.stem


def own_defaults(recipe: Path, given: Mapping[str, Marked]) -> dict[str, Marked]:
    """Return what ``${name}``, ``${seed}`` and so on stand for in a recipe without these keys.

    Args:
        recipe: its file.
        given: the defaults of plugins.
    """
    found: dict[str, Any] = {
        "name": literal(default_name(recipe)),
        "description": Settings.description,
        "seed": Settings.seed,
        "device": Settings.device,
        "run_dir": f"{RUNS}/${{name}}",
        "environment": list(Settings.environment),
    }
    from_plugins = {key: plain(value) for key, value in given.items()}
    found |= {key: literal(value) if isinstance(value, str) else value for key, value in from_plugins.items()}
    return {key: mark(value, Place("")) for key, value in found.items()}


def plugin_defaults(registry: Registry, place: Place) -> dict[str, Marked]:
    """Return the keys that plugins give every recipe; of several plugins the last one's hold.

    Those of a plugin that gives a wrong one are left out, and the plugin is named: the recipe is right.

    Args:
        registry: of the plugins.
        place: what the values are given as place.
    """
    found: dict[str, Marked] = {}
    listeners = registry.listeners
    for who, given in listeners.ask("mmtk_recipe_defaults"):
        marked = mark(given, place)
        if fault := _fault(marked, registry):
            listeners.say(f"{who} gives defaults of recipes that are wrong and are left out: {fault}")
        else:
            found |= marked.value
    return found


def _fault(given: Marked, registry: Registry) -> str | None:
    """Say what is wrong with the defaults of one plugin."""
    if not isinstance(given.value, dict):
        return f"expected a mapping of a recipe's keys, not {show(given.value)}"
    if odd := [key for key in given.value if not isinstance(key, str)]:
        return f"a key must be text, and {show(odd[0])} is not"
    trial = Site("", [])
    checker = NodeChecker(registry, lambda text, _wanted: f"'{text}' is no path")
    checker.record(given, Settings, trial)
    return f"{trial.problems[0].path}: {trial.problems[0].message}" if trial.problems else None
