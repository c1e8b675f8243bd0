"""How a rank ends that hasn't parted from the others."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys


class Ending:
    """The end of a rank's process, which comes at once where a collective may still be under way.

    A thread of gloo that lets go of a tensor while the interpreter is being taken apart aborts the process
    ("terminate called without an active exception"). So a rank that fails ends as soon as everything that
    was to happen at its exit has happened. Elsewhere this does nothing.

    Attributes:
        code: the exit code; 1 for a traceback, until it is known.
    """

    def __init__(self) -> None:
        self.code = 1
        if "RANK" in os.environ:
            # What is registered first is called last, and all non-daemon threads have ended before it.
            atexit.register(self._end_if_unparted)

    def _end_if_unparted(self) -> None:
        distributed = sys.modules.get("torch.distributed")
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # whoever read it may be gone
                stream.flush()
        os._exit(self.code)
