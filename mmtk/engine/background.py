"""Work on the side, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Does something, which begins at once, while its maker goes on."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name="mmtk-save")
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        """Wait for its end, and raise what it raised, once."""
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
