"""Turn SIGINT and SIGTERM into one exception, so that a run can write down where it was."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The user or the system asked the run to end. Not an Exception, so that no stage swallows it.

    Attributes:
        exit_code: 128 plus the signal's number, as shells report it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the main thread on the first SIGINT or SIGTERM; a second one ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    main_process = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if (
            os.getpid() != main_process
        ):  # a forked data worker inherits this handler, and a Ctrl-C reaches it too
            os._exit(128 + number)
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
