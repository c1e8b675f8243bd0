"""The commands of the program ``mmtk``, named so that listing them imports none of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmtk.errors import PluginError

if TYPE_CHECKING:
    import argparse


class CommandModule(Protocol):
    """What a command's module offers. It is imported when the command is called, or its own help asked."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments, without importing anything heavy."""

    def execute(self, arguments: argparse.Namespace) -> int:
        """Do the work and return the exit code: 0, or 1 where some results are missing.

        What it raises of ``MmtkError`` becomes a message and the exit code 2.
        """


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands with one word before them.

    Attributes:
        name: lower-case letters, digits and ``-``.
        module: import string of a ``CommandModule``; empty for a group.
        summary: one line for ``--help``.
        commands: those of a group, whose names stand behind its own.
    """

    name: str
    module: str = ""
    summary: str = ""
    commands: tuple[Command, ...] = ()


BUILT_IN = (
    Command(
        "run", "mmtk.cli.run", "Run a recipe's stages; what is done is skipped, what was interrupted goes on."
    ),
    Command(
        "check",
        "mmtk.cli.check",
        "Check a recipe against the installed plugins without running or importing anything heavy.",
    ),
    Command("caption", "mmtk.cli.caption", "Write captions of pictures with a trained model."),
    Command("match", "mmtk.cli.match", "Say how well texts fit a picture, with a trained model."),
    Command(
        "embed",
        "mmtk.cli.embed",
        "Write the features of pictures or texts into a file, with a trained model.",
    ),
    Command(
        "index",
        "mmtk.cli.index",
        "Make an index of pictures that 'mmtk search' looks through, or bring one up to date.",
    ),
    Command(
        "search", "mmtk.cli.search", "Find the pictures of an index that fit a text or another picture best."
    ),
    Command(
        "import",
        "mmtk.cli.import_command",
        "Turn a model of another program (public BLIP, LAVIS, transformers) into a checkpoint.",
    ),
    Command(
        "export",
        "mmtk.cli.export_command",
        "Write a run's model for another program: transformers, or the public BLIP code.",
    ),
    Command(
        "schema",
        "mmtk.cli.schema",
        "Print the JSON Schema of recipes, for editors, from the installed plugins.",
    ),
    Command(
        "list-plugins",
        "mmtk.cli.list_plugins",
        "List the installed plugins, and the components and commands that each one offers.",
    ),
    Command(
        "show",
        "mmtk.cli.show",
        "Say all there is to say of a component: its keys, what it gives, an example, where it comes from.",
    ),
    Command(
        "list-recipes",
        "mmtk.cli.list_recipes",
        "List the recipes that come with mmtk, or those below folders.",
    ),
    Command(
        "graph",
        "mmtk.cli.graph",
        "Draw a recipe: its stages, what flows between them, and the components each is made of.",
    ),
    Command(
        "doctor",
        "mmtk.cli.doctor",
        "Say what this installation has and what it can do: versions, devices, strategies, extras.",
    ),
    Command(
        "new-plugin",
        "mmtk.cli.new_plugin",
        "Write the package of a new plugin: a component that works, a recipe that uses it, and tests.",
    ),
)


def load_command(command: Command, origin: str = "") -> CommandModule:
    """Import a command. Raises PluginError when that fails or the module is no ``CommandModule``.

    ``origin`` is its plugin with distribution and version; empty for mmtk's own.
    """
    who = described(command, origin)
    try:
        module: Any = importlib.import_module(command.module)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{who}: {command.module} can't be imported: {type(error).__name__}: {error}"
        ) from error
    for name in ("add_arguments", "execute"):
        if not callable(getattr(module, name, None)):
            raise PluginError(f"{who}: {command.module} has no function '{name}'")
    loaded: CommandModule = module
    return loaded


def described(command: Command, origin: str) -> str:
    """The command with its origin, for messages."""
    return f"command '{command.name}'{f' (from {origin})' if origin else ''}"
