"""List the installed plugins, and the components and commands that each one offers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mmtk.printable import printable_lines

if TYPE_CHECKING:
    from rich.table import Table

    from mmtk.commands import Command
    from mmtk.plugins import PluginInfo


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """The command takes no arguments."""


def execute(_arguments: argparse.Namespace) -> int:
    from mmtk.cli.console import output_console
    from mmtk.plugins import load_plugins

    plugins = sorted(load_plugins().plugins, key=lambda plugin: plugin.name)
    console = output_console()
    console.print(component_table(plugins))
    for plugin in plugins:
        if plugin.error is not None:
            origin = f"{plugin.distribution} {plugin.version}, {plugin.module}"
            broken = printable_lines(f"broken: {plugin.name} ({origin}): {plugin.error}")
            console.print(broken, markup=False, emoji=False, soft_wrap=True)
    return 0


def component_table(plugins: list[PluginInfo]) -> Table:
    """One row per component or command, each with its plugin, so that the output can be searched by line."""
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
            table.add_row(*map(escape, (*origin, "command", name, summary)))
    return table


def _calls(commands: Sequence[Command], before: str = "") -> Iterator[tuple[str, str]]:
    """What can be called, with the words before it, and its summary."""
    for command in commands:
        if command.module:
            yield f"{before}{command.name}", command.summary
        yield from _calls(command.commands, f"{before}{command.name} ")
