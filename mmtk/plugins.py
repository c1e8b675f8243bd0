"""Finds plugins by their entry points and asks them what they offer. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from inspect import signature
from typing import Any

import pluggy

from mmtk import hookspecs
from mmtk.api_version import RANGE, api_fault, stated_range
from mmtk.commands import BUILT_IN, Command
from mmtk.events import Listener, Listeners
from mmtk.hookspecs import PROJECT_NAME
from mmtk.offers import offers_fault
from mmtk.plugin_choice import PluginChoice
from mmtk.registry import Component, Registration, Registry, spelling_hint

GROUP = "mmtk"
OFFERS = ("mmtk_components", "mmtk_commands")  # hooks that are called when plugins are loaded
HEAVY = frozenset({"matplotlib", "pyarrow", "sklearn", "timm", "torch", "torchvision", "transformers"})


@dataclass(frozen=True)
class PluginInfo:
    """A plugin that was found.

    Attributes:
        name: its entry point's name.
        distribution: the installed package that brings it.
        version: that package's version.
        module: what its entry point names.
        error: why it is quarantined; None if it works.
        components: what it offers; nothing if it is quarantined.
        commands: what it adds to the program ``mmtk``; nothing if it is quarantined.
        left_out: whether the user has asked not to load it; ``error`` says how.
        hooks: what it implements beside its offers; nothing if it is quarantined.
        heavy: the large libraries that its module was the first to import; every command waits for them.
    """

    name: str
    distribution: str
    version: str
    module: str
    error: str | None = None
    components: tuple[Component, ...] = ()
    commands: tuple[Command, ...] = ()
    left_out: bool = False
    hooks: tuple[str, ...] = ()
    heavy: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """The plugin, its distribution and its version, for messages."""
        return f"{self.name}/{self.distribution} {self.version}"


@dataclass(frozen=True)
class PluginHost:
    """The plugins of this installation, and the components and commands of those that work."""

    registry: Registry
    plugins: tuple[PluginInfo, ...]

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands that plugins add, in the order of the plugins."""
        return tuple(command for plugin in self.plugins for command in plugin.commands)

    @property
    def command_origins(self) -> dict[str, str]:
        """By the names of those commands their plugins, each with its distribution, for messages."""
        return {command.name: plugin.origin for plugin in self.plugins for command in plugin.commands}


def load_plugins(points: Iterable[EntryPoint] | None = None) -> PluginHost:
    """Load every plugin. A broken one is quarantined with its reason and never stops the others.

    Args:
        points: entry points to load; None takes those of the group ``mmtk`` of everything installed. Those
            that ``MMTK_PLUGINS`` blocks or doesn't pick are left out.

    Raises PluginError when ``MMTK_PLUGINS`` names what is no plugin.
    """
    with contextlib.redirect_stdout(sys.stderr):  # what plugins print is no part of a command's output
        return _loaded(list(entry_points(group=GROUP) if points is None else points))


def _loaded(found: list[EntryPoint]) -> PluginHost:
    manager = pluggy.PluginManager(PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    choice = PluginChoice.of_environment()
    choice.check({point.name for point in found})
    plugins: dict[str, PluginInfo] = {}
    refused: list[PluginInfo] = []
    for point in sorted(found, key=_own_first):
        info = PluginInfo(point.name, *_distribution(point), point.value)
        if point.name in plugins:
            first = plugins[point.name]
            taken = f"the name '{point.name}' is taken by {first.distribution} {first.version}"
            refused.append(replace(info, error=f"{taken}, {first.module}"))
            continue
        if why := choice.leaves_out(point.name, info.distribution == PROJECT_NAME):
            plugins[point.name] = replace(info, error=why, left_out=True)
            continue
        there = HEAVY & sys.modules.keys()
        error = _register(manager, point)
        heavy = tuple(sorted((HEAVY & sys.modules.keys()) - there))
        plugins[point.name] = replace(info, error=error, heavy=heavy)
    for name, reason in _misspelt_hooks(manager):
        plugins[name] = replace(plugins[name], error=reason)
    for name, _module in manager.list_name_plugin():
        plugins[name] = _ask(manager, plugins[name])
    everything = (*_without_clashes(plugins).values(), *refused)
    return PluginHost(_registry(everything, _listeners(manager, everything)), everything)


def _listeners(manager: pluggy.PluginManager, plugins: Iterable[PluginInfo]) -> Listeners:
    """What the working plugins implement beside their offers."""
    working = {plugin.name: plugin for plugin in plugins if plugin.error is None}
    by_hook: dict[str, tuple[Listener, ...]] = {}
    for hook in _hooks():
        if hook in OFFERS:
            continue
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if plugin := working.get(implementation.plugin_name):
                others = [module for name, module in manager.list_name_plugin() if name != plugin.name]
                who = f"plugin '{plugin.name}' ({plugin.distribution} {plugin.version})"
                one = Listener(who, manager.subset_hook_caller(hook, others))
                by_hook[hook] = (*by_hook.get(hook, ()), one)
    return Listeners(by_hook)


def _own_first(point: EntryPoint) -> tuple[str, bool, tuple[str, str]]:
    """Order by name; where two distributions claim one, the host's own plugin comes first and keeps it."""
    distribution = _distribution(point)
    return point.name, distribution[0] != PROJECT_NAME, distribution


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return _name_and_version(point.dist) if point.dist else ("unknown", "unknown")


@cache
def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Read both once: each access parses the whole metadata anew."""
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def _register(manager: pluggy.PluginManager, point: EntryPoint) -> str | None:
    """Import the plugin and take in its hooks; return what went wrong."""
    try:
        module = point.load()
    except (Exception, SystemExit) as error:
        return api_fault(stated_range(point)) or f"can't be imported: {_first_line(error)}"
    if fault := api_fault(getattr(module, RANGE, None)):
        return fault
    try:
        manager.register(module, name=point.name)
    except pluggy.PluginValidationError as error:
        if manager.has_plugin(point.name):
            manager.unregister(name=point.name)
        return _argument_fault(module) or "; ".join(str(error).strip().splitlines())
    except ValueError as error:  # the module is another plugin's as well
        return _first_line(error)
    if not manager.get_hookcallers(module):
        manager.unregister(name=point.name)
        return f"implements no hook of mmtk, such as {OFFERS[0]}; is @hookimpl missing?"
    return None


def _argument_fault(module: Any) -> str | None:
    """Name a hook that takes an argument which it isn't given, and what it is given instead."""
    for hook in _hooks():
        function: Any = getattr(module, hook, None)
        if not hasattr(function, f"{PROJECT_NAME}_impl"):
            continue
        given = signature(getattr(hookspecs, hook)).parameters
        taken = signature(function).parameters.values()
        needed = [
            one.name for one in taken if one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty
        ]
        if wrong := next((name for name in needed if name not in given), None):
            known = f"'{next(iter(given))}'" if given else "none"
            return f"its hook {hook} takes the argument '{wrong}', and is given {known}"
    return None


def _misspelt_hooks(manager: pluggy.PluginManager) -> list[tuple[str, str]]:
    """Take out every plugin that implements a hook which doesn't exist, with the hook's likely name."""
    found = []
    while True:
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            name = manager.get_name(error.plugin)
            assert name is not None, "check_pending blames a plugin that isn't registered"
            hooks = [caller.name for caller in manager.get_hookcallers(error.plugin) or ()]
            unknown = sorted(set(hooks) - set(_hooks()))
            hint = spelling_hint(unknown[0], _hooks())
            found.append((name, f"unknown hook '{unknown[0]}'; {hint}"))
            manager.unregister(name=name)
        else:
            return found


def _hooks() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith(f"{PROJECT_NAME}_")]


def _ask(manager: pluggy.PluginManager, info: PluginInfo) -> PluginInfo:
    """Ask one plugin for its components and commands."""
    others = [module for name, module in manager.list_name_plugin() if name != info.name]
    callers = manager.get_hookcallers(manager.get_plugin(info.name)) or ()
    hooks = [caller.name for caller in callers]
    offers: dict[str, tuple[Any, ...]] = {}
    for hook in OFFERS:
        try:
            answers = manager.subset_hook_caller(hook, others)()
            offers[hook] = tuple(one for answer in answers for one in answer)
        except (Exception, SystemExit) as error:
            return replace(info, error=f"{hook} failed: {_first_line(error)}")
        if hook in hooks and not answers:  # pluggy drops what is None
            return replace(info, error=f"{hook} returned None in place of a list; is 'return' missing?")
    components, commands = offers["mmtk_components"], offers["mmtk_commands"]
    try:
        fault = offers_fault(components, commands)
    except Exception as error:  # what the plugin gave raises when it is looked at
        fault = f"offers what can't be read: {_first_line(error)}"
    if fault:
        return replace(info, error=fault)
    heard = tuple(sorted(set(hooks) - set(OFFERS)))
    return replace(info, components=components, commands=commands, hooks=heard)


def _without_clashes(plugins: Mapping[str, PluginInfo]) -> dict[str, PluginInfo]:
    """Quarantine every plugin with a command that the host has, or a plugin before it.

    The host's own plugins come before those of other distributions, and each of both by its name.
    """
    owners = {command.name: "mmtk itself" for command in BUILT_IN}
    settled = dict(plugins)
    for plugin in sorted(plugins.values(), key=lambda one: (one.distribution != PROJECT_NAME, one.name)):
        names = [command.name for command in plugin.commands]
        clash = next((name for name in names if name in owners), None)
        if clash is not None:
            taken = f"its command '{clash}' is taken by {owners[clash]}"
            settled[plugin.name] = replace(plugin, error=taken, components=(), commands=(), hooks=())
            continue
        owners |= dict.fromkeys(names, f"plugin '{plugin.name}' ({plugin.distribution} {plugin.version})")
    return settled


def _registry(plugins: Iterable[PluginInfo], listeners: Listeners) -> Registry:
    registrations: list[Registration] = []
    broken: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for plugin in plugins:
        registrations += [
            Registration(component, plugin.name, plugin.distribution, plugin.version)
            for component in plugin.components
        ]
        if plugin.left_out:
            left_out[plugin.name] = str(plugin.error)
        elif plugin.error is not None:
            broken.setdefault(plugin.name, f"{plugin.error} ({plugin.distribution} {plugin.version})")
    return Registry(registrations, broken, listeners, left_out)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
