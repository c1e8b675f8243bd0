"""The ranks of a run as each of them sees the others, and which of them says what has ended it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from mmtk.distributed.failure_news import FAILED, FailureNews
from mmtk.errors import LostContactError, MmtkError, exit_code

_POLL_SECONDS = 0.05


class SilentExitError(Exception):
    """Another rank says what has ended the run: this one leaves without a word.

    Attributes:
        exit_code: as if this rank had spoken.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.exit_code = exit_code(error)


class Ranks:
    """This process among those of the run.

    Attributes:
        rank: from 0; rank 0 alone writes the run's records and speaks to the user.
        local_rank: the rank within this machine, which names its CUDA device.
        size: how many there are.
    """

    def __init__(
        self,
        rank: int = 0,
        local_rank: int = 0,
        size: int = 1,
        store: Any = None,
        *,
        store_in_rank_0: bool = False,
    ) -> None:
        """Take this process's place; ``store_in_rank_0`` says that the store goes when rank 0 does."""
        self.rank = rank
        self.local_rank = local_rank
        self.size = size
        self._store = store
        self._news = FailureNews(store) if store_in_rank_0 else None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def tell(self, topic: str, value: Any) -> None:
        """As rank 0, let the others know a JSON-able value, once a topic."""
        if self.size > 1:
            self._store.set(topic, json.dumps(value))

    def hear(self, topic: str) -> Any:
        """Wait, for days if need be, for what rank 0 tells on a topic."""
        # Looked for now and then: a waiting store call would keep signals from being handled.
        while not self._store.check([topic]):
            time.sleep(_POLL_SECONDS)
        return json.loads(self._store.get(topic))

    def meet(self) -> None:
        """Wait, for days if need be, until all ranks have come here as often as this one.

        A collective gives up after half an hour: meet before it where ranks may come far apart.
        """
        if self.size == 1:
            return
        come = self._store.add("met", 1)
        # Nobody comes to the next meeting before all have come to this one.
        everyone = -(-come // self.size) * self.size
        while come < everyone:
            time.sleep(_POLL_SECONDS)
            come = self._store.add("met", 0)

    def part(self) -> None:
        """Leave after the last topic: rank 0, which may keep what is told, as the last one."""
        if self.size == 1:
            return
        left = self._store.add("left", 1)
        while self.leads and left < self.size:
            time.sleep(_POLL_SECONDS)
            left = self._store.add("left", 0)

    @contextlib.contextmanager
    def one_voice(self) -> Iterator[None]:
        """Let the rank that fails first raise its error, and the others leave in silence.

        Raises:
            SilentExitError: in place of any error, where another rank has failed before.
            LostContactError: in place of what torch says when another rank has gone.
        """
        following = self._news.followed() if self._news and not self.leads else contextlib.nullcontext()
        try:
            with following, self._rank_0_first():
                yield
        except BaseException as error:
            if not self._fails_first():
                raise SilentExitError(error) from error
            if _lost_contact(error):
                raise LostContactError(
                    "lost contact with another rank, which ended without a message; was it killed, or out of "
                    f"memory? ({str(error).splitlines()[0][:200]})"
                ) from error
            if isinstance(error, Exception) and not isinstance(error, MmtkError):
                error.add_note(f"on rank {self.rank} of {self.size}")  # the last line of its traceback
            raise

    @contextlib.contextmanager
    def _rank_0_first(self) -> Iterator[None]:
        """Of an error that all ranks raise, let rank 0 be the first to fail."""
        try:
            yield
        except MmtkError as error:
            with contextlib.suppress(Exception):  # the store has gone with rank 0
                while error.on_all_ranks and not self.leads and not self._store.check([FAILED]):
                    time.sleep(_POLL_SECONDS)
            raise

    def _fails_first(self) -> bool:
        try:
            winner = self._store.compare_set(FAILED, "", str(self.rank))
        except Exception:  # the store has gone with rank 0, which held it: killed, if there was no news
            return self.rank == 1 and not (self._news and self._news.heard)
        if self._news and self.leads:
            self._news.let_others_hear(self.size - 1)
        return bool(winner.decode() == str(self.rank))


def _lost_contact(error: BaseException) -> bool:
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(backend in text for backend in ("gloo", "nccl"))
