"""The parser of a command line: of all commands the names and summaries, of the called one its arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from mmtk.cli import completion
from mmtk.commands import Command, load_command
from mmtk.plugin_choice import OPTION
from mmtk.printable import printable_lines
from mmtk.registry import nearest

USER_ERROR = 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {printable_lines(message)}\nsee '{self.prog} --help'\n")


class _Version(argparse.Action):
    """Looks the version up when it is asked for, which takes as long as all the rest of a ``--help``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"mmtk {version('mmtk')}")
        parser.exit()


def build_parser(commands: Sequence[Command], broken: Mapping[str, str], words: Sequence[str]) -> Parser:
    """Return a parser of the command line ``words``. It ends the program where they name no command.

    Args:
        commands: all that there are.
        broken: why plugins are quarantined, by their names: an unknown command may be one of theirs.
        words: what the user has typed.

    Raises:
        PluginError: the command that is named can't be imported.
    """
    parser = Parser(
        prog="mmtk",
        description="Pre-train BLIP-style vision-language models and bootstrap their captions.",
        allow_abbrev=False,
    )
    _add_plugin_option(parser)
    parser.add_argument("--version", action=_Version, nargs=0, help="show mmtk's version and exit")
    _add(parser, commands, broken, words)
    return parser


def _add_plugin_option(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument(
        OPTION, metavar="NAME", help="leave a plugin out, before or behind the command; may be repeated"
    )
    option.completer = completion.plugins  # type: ignore[attr-defined]


def _add(
    parser: Parser, commands: Sequence[Command], broken: Mapping[str, str], words: Sequence[str]
) -> None:
    """Add commands to the parser; the one that the first word names gets its own arguments or commands."""
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands:
        shown = command.summary.replace("%", "%%")
        child = subparsers.add_parser(command.name, help=shown, description=shown, allow_abbrev=False)
        if command.name not in words[:1]:
            continue
        if command.commands:
            _add(child, command.commands, {}, words[1:])
            continue
        module = load_command(command)
        module.add_arguments(child)
        if completion.asked():  # a command line that runs has lost it already, wherever it stood
            _add_plugin_option(child)
        child.set_defaults(execute=module.execute)
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(USER_ERROR)
    if not words[0].startswith("-") and words[0] not in subparsers.choices:
        parser.error(_unknown(words[0], commands, broken))


def _unknown(word: str, commands: Sequence[Command], broken: Mapping[str, str]) -> str:
    names = [command.name for command in commands]
    near = nearest(word, names)
    hint = f"did you mean '{near}'?" if near else f"there are {', '.join(names)}"
    missing = [
        f" (plugin '{name}' is broken, so its commands are missing: {reason})"
        for name, reason in broken.items()
    ]
    return f"unknown command '{word}'; {hint}{''.join(missing)}"
