"""The command line. Each command is one file; none of them imports anything heavy before it must."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from mmtk.cli import (
    caption,
    check,
    embed,
    export_command,
    import_command,
    index,
    list_plugins,
    match,
    run,
    schema,
    search,
)
from mmtk.cli.results import note
from mmtk.disk import FULL_DISK
from mmtk.distributed.group import SilentExitError
from mmtk.distributed.launch import note_exit
from mmtk.errors import MmtkError
from mmtk.printable import printable_lines

COMMANDS = {
    "run": run,
    "check": check,
    "caption": caption,
    "match": match,
    "embed": embed,
    "index": index,
    "search": search,
    "import": import_command,
    "export": export_command,
    "schema": schema,
    "list-plugins": list_plugins,
}
USER_ERROR = 2
LISTS = ("options", "overrides", "images", "texts")  # arguments that a command takes any number of


class Parser(argparse.ArgumentParser):
    """Refuses an unknown command with the nearest spelling."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(USER_ERROR, f"{self.prog}: {printable_lines(message)}\nsee '{self.prog} --help'\n")


def build_parser() -> Parser:
    parser = Parser(
        prog="mmtk",
        description="Pre-train BLIP-style vision-language models and bootstrap their captions.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mmtk {version('mmtk')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").strip().splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        module.add_arguments(command)
        command.set_defaults(execute=module.execute)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0, 2 for a user's mistake, 75 for an interruption before which all work was saved, 130 or 143 for another.
    """
    code = _run(argv)
    if "RANK" in os.environ:
        note_exit(int(os.environ["RANK"]), code)
    return code


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return USER_ERROR
    if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        parser.error(_unknown_command(arguments[0]))
    try:
        parsed = _parsed(parser, arguments)
        code: int = parsed.execute(parsed)
    except MmtkError as error:
        note(str(error))
        return USER_ERROR
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in FULL_DISK:
            raise
        note(f"{error.filename or arguments[0]}: {error.strerror}")
        return USER_ERROR
    except SilentExitError as silent:
        return silent.exit_code
    except KeyboardInterrupt as signal_:
        again = "; the same command goes on from here" if arguments[0] in ("run", "index") else ""
        note(f"interrupted{again}")
        return getattr(signal_, "exit_code", 130)
    return code


def _parsed(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse; the last arguments of a kind may also stand behind options, where argparse leaves them over."""
    parsed, left_over = parser.parse_known_args(arguments)
    taking = next((name for name in LISTS if hasattr(parsed, name)), None)
    if left_over and (taking is None or any(one.startswith("-") and one != "-" for one in left_over)):
        parser.error(f"unrecognized arguments: {' '.join(left_over)}")
    if taking is not None:
        setattr(parsed, taking, [*getattr(parsed, taking), *left_over])
    return parsed


def _unknown_command(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(COMMANDS)}"
    return f"unknown command '{name}'; {hint}"
