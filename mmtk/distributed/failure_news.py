"""Word of a failed rank, for the others to have before rank 0 goes and takes the store along."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

FAILED = "failed"  # the rank that fails first, as it has put itself down
_HEARD = "heard"
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_TO_HEAR = 5


class FailureNews:
    """Looks in the background whether a rank has failed: this one may sit in a collective.

    Attributes:
        heard: whether one has.
    """

    def __init__(self, store: Any) -> None:
        self.heard = False
        self._store = store
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="failure news", daemon=True)

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Look during the block, and no longer: at exit, torch must not be in the middle of a look."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def let_others_hear(self, others: int) -> None:
        """As the rank that holds the store and leaves, wait until the others have the news; not for long."""
        until = time.monotonic() + _SECONDS_TO_HEAR
        while self._store.add(_HEARD, 0) < others and time.monotonic() < until:
            time.sleep(_SECONDS_BETWEEN_LOOKS / 5)

    def _look(self) -> None:
        with contextlib.suppress(Exception):  # the store has gone
            over = False
            while not self.heard and not over:
                over = self._over.wait(_SECONDS_BETWEEN_LOOKS)
                self.heard = self._store.check([FAILED])
            self._store.add(_HEARD, 1)
