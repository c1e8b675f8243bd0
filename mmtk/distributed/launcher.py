"""What ties a rank to the process that has started it: a note of how the rank ended, and one end for both."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_NOTES = "MMTK_EXIT_NOTES"  # the folder in which the ranks note how they ended
_LAUNCHER = "MMTK_LAUNCHER"  # the process that does so for 'mmtk run --nproc'
_SECONDS_BETWEEN_LOOKS = 0.5

_watched: int | None = None  # the process that this rank ends with


class ExitNote(NamedTuple):
    """How a rank ended.

    Attributes:
        time: when, in seconds since the epoch.
        code: its exit code.
        unsaid: what it leaves its launcher to say; empty where it has said everything.
    """

    time: float
    code: int
    unsaid: str


@contextlib.contextmanager
def exit_notes() -> Iterator[Path]:
    """Make this process the launcher of the ranks that it starts; give the folder of their notes."""
    with tempfile.TemporaryDirectory(prefix="mmtk-") as folder:
        os.environ |= {_NOTES: folder, _LAUNCHER: str(os.getpid())}
        try:
            yield Path(folder)
        finally:
            del os.environ[_NOTES], os.environ[_LAUNCHER]


def read_notes(folder: Path) -> list[ExitNote]:
    """Read what ranks have noted, the first one to end before the others."""
    return sorted(ExitNote(*json.loads(path.read_text("utf-8"))) for path in folder.iterdir())


def note_exit(code: int, unsaid: str = "") -> bool:
    """Let the launcher know how this rank ends.

    What may follow from another rank's end is better left to it: an interruption, a lost contact.

    Returns:
        Whether there is a launcher, which says what is unsaid.
    """
    folder, rank = os.environ.get(_NOTES), os.environ.get("RANK")
    if folder is None or rank is None:
        return False
    try:
        Path(folder, rank).write_text(json.dumps(ExitNote(time.time(), code, unsaid)), "utf-8")
    except OSError:
        return False
    return True


def end_with_launcher() -> None:
    """From now on, end this rank when the process that has started it is gone: killed, without a word to it.

    Ranks that nothing of torchrun's has started have no such process.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    global _watched
    _watched = int(os.environ.get(_LAUNCHER, os.getppid()))
    threading.Thread(target=_watch, name="launcher watch", daemon=True).start()


def end_if_launcher_is_gone() -> None:
    """End this rank where the process that has started it was killed: what fails then is no failure of it."""
    if _watched is not None and os.getppid() != _watched:
        # As if this rank had been killed as well: the main thread may sit in a collective and hear nothing.
        os._exit(1)


def _watch() -> None:
    while True:
        end_if_launcher_is_gone()
        time.sleep(_SECONDS_BETWEEN_LOOKS)
