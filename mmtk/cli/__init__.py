"""The command line. Each command is one file; none of them imports anything heavy before it must."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mmtk.cli import completion
from mmtk.cli.parser import USER_ERROR, Parser, build_parser
from mmtk.cli.results import note
from mmtk.commands import BUILT_IN
from mmtk.disk import FULL_DISK
from mmtk.distributed.ending import Ending
from mmtk.distributed.launcher import note_exit
from mmtk.distributed.ranks import SilentExitError
from mmtk.errors import LostContactError, MmtkError, exit_code
from mmtk.plugin_choice import take_options

LISTS = ("options", "overrides", "images", "texts")  # arguments that a command takes any number of
WITHOUT_PLUGINS = {"--version", *(command.name for command in BUILT_IN)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, one of those in docs/resume.md."""
    ending = Ending()
    try:
        code, unsaid = _run(argv)
    except SilentExitError as silent:
        ending.code = silent.exit_code
        return ending.code
    except Exception:
        note_exit(ending.code)
        raise
    ending.code = code
    if not note_exit(code, unsaid) and unsaid:
        note(unsaid)
    return code


def _run(argv: Sequence[str] | None) -> tuple[int, str]:
    """Run one command; return its exit code, and what is unsaid as it may follow from another rank's end."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if completion.asked():
        completion.answer(_parser([*completion.typed_words(), "--help"]))
    try:
        arguments = take_options(arguments)
        parsed = _parsed(_parser(arguments), arguments)
        return parsed.execute(parsed), ""
    except LostContactError as lost:
        return lost.exit_code, str(lost)
    except MmtkError as error:
        note(str(error))
        return error.exit_code, ""
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1, ""
    except OSError as error:
        if error.filename is None and error.errno not in FULL_DISK:
            raise
        note(f"{error.filename or arguments[0]}: {error.strerror}")
        return USER_ERROR, ""
    except KeyboardInterrupt as signal_:
        again = "; the same command goes on from here" if arguments[:1] in (["run"], ["index"]) else ""
        return exit_code(signal_), f"interrupted{again}"


def _parser(arguments: Sequence[str]) -> Parser:
    """The parser of a command line. Plugins are asked for their commands only where it matters."""
    if arguments and arguments[0] in WITHOUT_PLUGINS:
        return build_parser(BUILT_IN, {}, arguments)
    from mmtk.plugins import load_plugins

    host = load_plugins()
    return build_parser([*BUILT_IN, *host.commands], host.command_origins, arguments, host.registry.missing)


def _parsed(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse; the last arguments of a kind may also stand behind options, where argparse leaves them over."""
    parsed, left_over = parser.parse_known_args(arguments)
    taking = next((name for name in LISTS if hasattr(parsed, name)), None)
    if left_over and (taking is None or any(one.startswith("-") and one != "-" for one in left_over)):
        getattr(parsed, "command_parser", parser).refuse(left_over)
    if taking is not None:
        setattr(parsed, taking, [*getattr(parsed, taking), *left_over])
    return parsed
