"""Signals that ask a run to end: at once, or as soon as a stage has saved where it is."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SAVED = 75  # sysexits.h's EX_TEMPFAIL: nothing is wrong, try again later
# Slurm can send SIGUSR1 some time before it ends a job (--signal); a terminal that is closed sends SIGHUP.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The user or the system asked the run to end. Not an Exception, so that no stage swallows it.

    Attributes:
        exit_code: 75 where the stage has saved all it had done; else 128 plus the signal's number, as shells
            report it.
    """

    def __init__(self, signal_number: int, *, saved: bool = False) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = SAVED if saved else 128 + signal_number
        self.saved = saved


def heeded_signals() -> tuple[signal.Signals, ...]:
    """Those of STOP_SIGNALS that end this process: not SIGHUP where ``nohup`` has told it to go on."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in STOP_SIGNALS if number != signal.SIGHUP or not nohup)


def leave_closed_terminal() -> None:
    """Write nowhere from now on what would go to a terminal that is closed, where writing is an error."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


class StopRequest:
    """Whether a signal has asked the run to end.

    Attributes:
        number: the signal's; None as long as none has come.
    """

    number: int | None = None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the main thread on the first stop signal; a second one ends the process."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted(number)

    with _handling(interrupt):
        yield


@contextlib.contextmanager
def deferred_stop() -> Iterator[StopRequest]:
    """Only note the first stop signal, so that the block ends in its own time.

    A second Ctrl-C (SIGINT) raises Interrupted: its sender doesn't want to wait. A second SIGTERM doesn't: a
    launcher sends one behind the Ctrl-C that has reached this process before.
    """
    request = StopRequest()

    def note(number: int, _frame: FrameType | None) -> None:
        if request.number is not None and number == signal.SIGINT:
            raise Interrupted(number)
        request.number = request.number or number

    with _handling(note):
        yield request


@contextlib.contextmanager
def _handling(handler: object) -> Iterator[None]:
    """Install the handler in this process's main thread, and put back what was there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    main_process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if (
            os.getpid() != main_process
        ):  # a forked data worker inherits the handler, and a Ctrl-C reaches it too
            os._exit(128 + number)
        if number == signal.SIGHUP:
            leave_closed_terminal()
        handler(number, frame)  # type: ignore[operator]

    before = {number: signal.signal(number, handle) for number in heeded_signals()}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
