"""Completes command lines in the shell, by argcomplete: commands, options, components, recipes."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from mmtk.errors import PluginError
from mmtk.plugin_choice import take_options

ASKED = "_ARGCOMPLETE"  # argcomplete's variable: the shell asks what a line could go on with


def asked() -> bool:
    """Whether the shell asks for completions instead of running a command."""
    return ASKED in os.environ


def typed_words() -> list[str]:
    """The words that the user has typed behind ``mmtk``, without the one that is to be completed."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0") or 0)]
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        words = line.split()
    return _without_plugin_options(words[1:] if line.endswith(" ") else words[1:-1])


def _without_plugin_options(words: list[str]) -> list[str]:
    """The words as a run would see them, so that the first one is the command."""
    try:
        return take_options(words)
    except PluginError:  # the plugin's name is what is to be completed
        return words


def answer(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what could follow, and end the program."""
    import argcomplete

    argcomplete.autocomplete(parser, always_complete_options=False)


def components(parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """Kinds and the names of all components; behind a kind, the names of that kind."""
    from mmtk.kinds import KINDS
    from mmtk.plugins import load_plugins

    registry = load_plugins().registry
    typed = getattr(parsed_args, "component", None) or []
    kinds = [typed[0]] if typed and typed[0] in KINDS else list(KINDS)
    names = {registry.spelling(one) for kind in kinds for one in registry.of_kind(kind)}
    return sorted(names) if len(kinds) == 1 else [*KINDS, *sorted(names)]


def kinds(**_: object) -> Iterable[str]:
    from mmtk.kinds import KINDS

    return [*KINDS, "command", "hook"]


def recipes(prefix: str, **_: object) -> Iterable[str]:
    """YAML files and folders that begin like that, and the recipes that come with mmtk."""
    from mmtk.recipe.shipped import recipes_in, shipped_folder

    shipped = shipped_folder()
    names = [one.name for one in recipes_in(shipped)] if shipped.is_dir() else []
    before = prefix.rpartition("/")[0]
    folder = Path(before or ("/" if prefix.startswith("/") else "."))
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [
        f"{f'{before}/' if '/' in prefix else ''}{path.name}{'/' if path.is_dir() else ''}"
        for path in files
        if path.is_dir() or path.suffix in (".yaml", ".yml")
    ]
    return [*paths, *names]


def stage_keys(prefix: str, parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """``stages.NAME.`` of the recipe that is named, for overrides."""
    from mmtk.errors import MmtkError
    from mmtk.recipe import load_recipe

    recipe = _recipe(parsed_args)
    if recipe is None:
        return []
    try:
        stages = load_recipe(recipe).data.get("stages") or {}
    except (MmtkError, OSError):  # 'mmtk check' says what is wrong with it
        return []
    found = [
        f"stages.{stage}.{key}=" for stage, node in stages.items() if isinstance(node, dict) for key in node
    ]
    return [one for one in (*found, "seed=", "run_dir=", "device=") if one.startswith(prefix)]


def profiles(parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """Those of the recipe that is named, if it stands before the option."""
    from mmtk.errors import MmtkError
    from mmtk.recipe.extends import read_extended
    from mmtk.recipe.unread import Definitions

    recipe = _recipe(parsed_args)
    if recipe is None:
        return []
    try:
        section = read_extended(recipe, [], Definitions()).value.get("profiles")
    except (MmtkError, OSError):
        return []
    return list(section.value) if section is not None and isinstance(section.value, dict) else []


def template_kinds(**_: object) -> Iterable[str]:
    """The kinds that 'mmtk new-plugin' has a template for."""
    from mmtk.scaffold import KINDS

    return KINDS


def plugins(**_: object) -> Iterable[str]:
    """The names of all plugins that are installed. None is imported."""
    from importlib.metadata import entry_points

    return sorted({point.name for point in entry_points(group="mmtk")})


def _recipe(parsed_args: argparse.Namespace) -> Path | None:
    """The file of the recipe that the line names, if it names one."""
    from mmtk.recipe.shipped import shipped_recipe

    recipe: Path | None = getattr(parsed_args, "recipe", None)
    if recipe is not None and not recipe.is_file():
        recipe = shipped_recipe(str(recipe))
    return recipe if recipe is not None and recipe.is_file() else None
