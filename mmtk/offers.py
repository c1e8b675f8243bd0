"""What is wrong with the components and commands that a plugin offers, seen without importing them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from mmtk.commands import Command
from mmtk.kinds import KINDS
from mmtk.printable import brief
from mmtk.registry import Component, a_kind, spelling_hint

NAME = re.compile(r"[A-Za-z0-9_.-]+")
IMPORT_STRING = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
COMMAND_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def offers_fault(components: Sequence[Any], commands: Sequence[Any]) -> str | None:
    """Say the first thing that is wrong with what a plugin's hooks gave, which may be anything at all."""
    if fault := _first(map(component_fault, components)) or _first(map(command_fault, commands)):
        return fault
    names = [(component.kind, component.name) for component in components]
    again = sorted({one for one in names if names.count(one) > 1})
    return f"offers {again[0][0]} '{again[0][1]}' twice" if again else repeated(commands)


def component_fault(component: Any) -> str | None:
    """Say what is wrong with a component."""
    if not isinstance(component, Component):
        return f"mmtk_components gave {brief(repr(component))}, which is no Component"
    if fault := _component_types(component):
        return fault
    if component.kind not in KINDS:
        hint = spelling_hint(component.kind, KINDS)
        return f"component '{component.name}' has the unknown kind '{component.kind}'; {hint}"
    if not NAME.fullmatch(component.name):
        return f"{component.kind} '{component.name}': a name is made of letters, digits, '_', '-' and '.'"
    for what, spec in (("factory", component.factory), ("config", component.config)):
        if spec is not None and not IMPORT_STRING.fullmatch(spec):
            return f"{component.kind} '{component.name}': its {what} '{spec}' is no 'module:attribute'"
    return None


def command_fault(command: Any) -> str | None:
    """Say what is wrong with a command or one of its group."""
    if not isinstance(command, Command):
        return f"mmtk_commands gave {brief(repr(command))}, which is no Command"
    if fault := _command_types(command):
        return fault
    if not COMMAND_NAME.fullmatch(command.name):
        return f"command '{command.name}': a name is made of lower-case letters, digits and '-'"
    if bool(command.module) == bool(command.commands):
        return f"command '{command.name}' needs a module, or commands of its own, and not both"
    if command.module and not MODULE.fullmatch(command.module):
        return f"command '{command.name}': its module '{command.module}' is no 'package.module'"
    return _first(map(command_fault, command.commands)) or repeated(command.commands)


def repeated(commands: Sequence[Command]) -> str | None:
    """Name a command that is there twice, if there is one."""
    names = [command.name for command in commands]
    again = next((name for name in names if names.count(name) > 1), None)
    return f"offers command '{again}' twice" if again else None


def a_value(value: Any) -> str:
    """Return in words what sort of thing stands where a plugin should have given another."""
    if value is None:
        return "None"
    return "a class" if isinstance(value, type) else a_kind(type(value).__name__)


def _component_types(component: Component) -> str | None:
    kind = component.kind if isinstance(component.kind, str) else "component"
    fault = _no_text(a_kind(kind) if kind else "a component", "name", "a text", component.name)
    who = f"{kind} '{component.name}'"
    fault = fault or _no_text(who, "kind", "a text", component.kind)
    fault = fault or _no_text(who, "factory", "the text 'module:attribute'", component.factory)
    if component.config is not None:
        fault = fault or _no_text(who, "config", "the text 'module:attribute'", component.config)
    return fault or _no_text(who, "summary", "a text", component.summary)


def _command_types(command: Command) -> str | None:
    if fault := _no_text("a command", "name", "a text", command.name):
        return fault
    who = f"command '{command.name}'"
    if not isinstance(command.commands, tuple | list):
        return f"{who}: its commands must be a tuple of Command, not {a_value(command.commands)}"
    fault = _no_text(who, "module", "the text 'package.module'", command.module)
    return fault or _no_text(who, "summary", "a text", command.summary)


def _no_text(who: str, field: str, expected: str, value: Any) -> str | None:
    return None if isinstance(value, str) else f"{who}: its {field} must be {expected}, not {a_value(value)}"


def _first(faults: Iterable[str | None]) -> str | None:
    return next(filter(None, faults), None)
