"""List the installed plugins, and the components and commands that each one offers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from mmtk.cli import completion
from mmtk.printable import printable_lines

if TYPE_CHECKING:
    from rich.table import Table

    from mmtk.commands import Command
    from mmtk.plugins import PluginInfo
    from mmtk.registry import Registry


COMMAND = "command"
HOOK = "hook"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kind = parser.add_argument(
        "--kind", metavar="KIND", help="list components of this kind alone, or 'command' or 'hook'"
    )
    kind.completer = completion.kinds  # type: ignore[attr-defined]
    parser.add_argument("--json", action="store_true", help="print a JSON array of plugins")


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.discover.kind_names import check_kind
    from mmtk.plugins import load_plugins

    if arguments.kind is not None:
        check_kind(arguments.kind, COMMAND, HOOK)
    host = load_plugins()
    plugins = [of_kind(one, arguments.kind) for one in sorted(host.plugins, key=lambda plugin: plugin.name)]
    if arguments.json:
        print(json.dumps([asdict(plugin) for plugin in plugins], indent=2))
        return 0
    from mmtk.cli.console import output_console

    console = output_console()
    console.print(component_table(plugins))
    for plugin in plugins:
        if plugin.error is not None:
            origin = f"{plugin.distribution} {plugin.version}, {plugin.module}"
            state = "left out" if plugin.left_out else "broken"
            broken = printable_lines(f"{state}: {plugin.name} ({origin}): {plugin.error}")
            console.print(broken, markup=False, emoji=False, soft_wrap=True)
    for line in shared_names(host.registry, plugins):
        console.print(printable_lines(line), markup=False, emoji=False, soft_wrap=True)
    return 0


def shared_names(registry: Registry, plugins: Iterable[PluginInfo]) -> Iterator[str]:
    """Say of every component that its name alone doesn't name how a recipe does."""
    for plugin in plugins:
        for one in plugin.components:
            registration = registry.get(one.kind, f"{plugin.name}/{one.name}")
            if (spelling := registry.spelling(registration)) != one.name:
                who = f"{one.kind} '{one.name}' of {registration.origin}"
                yield f"{who}: others offer one of this name; write '{spelling}' in recipes"


def of_kind(plugin: PluginInfo, kind: str | None) -> PluginInfo:
    """The plugin with what it offers of a kind; None keeps all."""
    if kind is None:
        return plugin
    components = tuple(one for one in plugin.components if one.kind == kind)
    commands, hooks = (plugin.commands if kind == COMMAND else ()), (plugin.hooks if kind == HOOK else ())
    return replace(plugin, components=components, commands=commands, hooks=hooks)


def component_table(plugins: list[PluginInfo]) -> Table:
    """One row per component, command or hook, each with its plugin, to be searched by line."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("plugin", "distribution", "kind", "name", "summary"):
        table.add_column(heading, no_wrap=heading != "summary")
    for plugin in plugins:
        origin = (plugin.name, f"{plugin.distribution} {plugin.version}")
        for component in sorted(plugin.components, key=lambda one: (one.kind, one.name)):
            table.add_row(*map(escape, (*origin, component.kind, component.name, component.summary)))
        for name, summary in _calls(plugin.commands):
            table.add_row(*map(escape, (*origin, COMMAND, name, summary)))
        for hook in plugin.hooks:
            table.add_row(*map(escape, (*origin, HOOK, hook, "")))
    return table


def _calls(commands: Sequence[Command], before: str = "") -> Iterator[tuple[str, str]]:
    """What can be called, with the words before it, and its summary."""
    for command in commands:
        if command.module:
            yield f"{before}{command.name}", command.summary
        yield from _calls(command.commands, f"{before}{command.name} ")
