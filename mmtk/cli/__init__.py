"""The command line. Each command is one file; none of them imports anything heavy before it must."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from mmtk.cli.parser import USER_ERROR, Parser, build_parser
from mmtk.cli.results import note
from mmtk.commands import BUILT_IN, Command
from mmtk.disk import FULL_DISK
from mmtk.distributed.group import SilentExitError
from mmtk.distributed.launch import note_exit
from mmtk.errors import MmtkError

LISTS = ("options", "overrides", "images", "texts")  # arguments that a command takes any number of
WITHOUT_PLUGINS = {"--version", *(command.name for command in BUILT_IN)}


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
    try:
        parsed = _parsed(build_parser(*_commands(arguments), arguments), arguments)
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
        again = "; the same command goes on from here" if arguments[:1] in (["run"], ["index"]) else ""
        note(f"interrupted{again}")
        return getattr(signal_, "exit_code", 130)
    return code


def _commands(arguments: Sequence[str]) -> tuple[Sequence[Command], Mapping[str, str]]:
    """The commands that may be meant, and why plugins are broken. Plugins are asked only where it matters."""
    if arguments and arguments[0] in WITHOUT_PLUGINS:
        return BUILT_IN, {}
    from mmtk.plugins import load_plugins

    host = load_plugins()
    return [*BUILT_IN, *host.commands], host.registry.broken


def _parsed(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse; the last arguments of a kind may also stand behind options, where argparse leaves them over."""
    parsed, left_over = parser.parse_known_args(arguments)
    taking = next((name for name in LISTS if hasattr(parsed, name)), None)
    if left_over and (taking is None or any(one.startswith("-") and one != "-" for one in left_over)):
        parser.error(f"unrecognized arguments: {' '.join(left_over)}")
    if taking is not None:
        setattr(parsed, taking, [*getattr(parsed, taking), *left_over])
    return parsed
