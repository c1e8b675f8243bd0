"""The parser of a command line: of all commands the names and summaries, of the called one its arguments."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from mmtk.blame import blamed
from mmtk.cli import completion
from mmtk.commands import Command, CommandModule, described, load_command
from mmtk.plugin_choice import OPTION
from mmtk.printable import printable_lines
from mmtk.registry import Missing, nearest

USER_ERROR = 2
NOTHING_MISSING = Missing()


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {printable_lines(message)}\nsee '{self.prog} --help'\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """End the program over arguments that the command doesn't take, with its options nearest to them."""
        options = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        unknown = [word.partition("=")[0].lstrip("-") for word in words if word.startswith("-")]
        near = [f"--{found}" for word in unknown if (found := nearest(word, options))]
        known = ", ".join(f"--{option}" for option in options)
        hint = f"did you mean {', '.join(near)}?" if near else f"its options are {known}"
        self.error(f"unknown arguments: {' '.join(words)}; {hint}")


class _Version(argparse.Action):
    """Looks the version up when it is asked for, which takes as long as all the rest of a ``--help``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"mmtk {version('mmtk')}")
        parser.exit()


def build_parser(
    commands: Sequence[Command],
    origins: Mapping[str, str],
    words: Sequence[str],
    missing: Missing = NOTHING_MISSING,
) -> Parser:
    """Return a parser of the command line ``words``. It ends the program where they name no command.

    Args:
        commands: all that there are.
        origins: by the names of commands their plugins, each with its distribution; mmtk's own have none.
        words: what the user has typed.
        missing: plugins that are not loaded; an unknown command may be one of theirs.

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
    _add(parser, commands, origins, words, missing)
    return parser


def _add_plugin_option(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument(
        OPTION, metavar="NAME", help="leave a plugin out, before or behind the command; may be repeated"
    )
    option.completer = completion.plugins  # type: ignore[attr-defined]


def _add(
    parser: Parser,
    commands: Sequence[Command],
    origins: Mapping[str, str],
    words: Sequence[str],
    missing: Missing,
) -> None:
    """Add commands to the parser; the one that the first word names gets its own arguments or commands."""
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands:
        shown = command.summary.replace("%", "%%")
        child = subparsers.add_parser(command.name, help=shown, description=shown, allow_abbrev=False)
        if command.name not in words[:1]:
            continue
        origin = origins.get(command.name, "")
        if command.commands:
            inherited = {inner.name: origin for inner in command.commands}
            _add(child, command.commands, inherited, words[1:], NOTHING_MISSING)
            continue
        _fill(child, command, origin)
        if completion.asked():  # a command line that runs has lost it already, wherever it stood
            _add_plugin_option(child)
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(USER_ERROR)
    if not words[0].startswith("-") and words[0] not in subparsers.choices:
        parser.error(_unknown(words[0], commands, missing))


def _fill(parser: Parser, command: Command, origin: str) -> None:
    """Give a command its arguments and what it does; a plugin's is named where its code fails."""
    module = load_command(command, origin)
    if not origin:
        module.add_arguments(parser)
        parser.set_defaults(execute=module.execute, command_parser=parser)
        return
    who = described(command, origin)
    with blamed(who, "named its arguments", may_exit=True):
        module.add_arguments(parser)
    parser.set_defaults(execute=functools.partial(_execute, module, who), command_parser=parser)


def _execute(module: CommandModule, who: str, arguments: argparse.Namespace) -> int:
    with blamed(who, "was called", may_exit=True):
        return module.execute(arguments)


def _unknown(word: str, commands: Sequence[Command], missing: Missing) -> str:
    names = [command.name for command in commands]
    near = nearest(word, names)
    hint = f"did you mean '{near}'?" if near else f"there are {', '.join(names)}"
    return f"unknown command '{word}'; {hint}{missing.notes('commands', near)}"
