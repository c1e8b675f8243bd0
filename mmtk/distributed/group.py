"""The processes of one run, as torchrun starts them, and what they tell each other outside of training.

Without torchrun's environment there is one rank and nothing here does anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from mmtk.errors import MmtkError, StageError

_POLL_SECONDS = 0.05


class SilentExitError(Exception):
    """Another rank says what has ended the run: this one leaves without a word.

    Attributes:
        exit_code: as if this rank had spoken.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Ranks:
    """This process among those of the run.

    Attributes:
        rank: from 0; rank 0 alone writes the run's records and speaks to the user.
        local_rank: the rank within this machine, which names its CUDA device.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, local_rank: int = 0, size: int = 1, store: Any = None) -> None:
        self.rank = rank
        self.local_rank = local_rank
        self.size = size
        self._store = store

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

    def part(self) -> None:
        """Leave after the last topic: rank 0, which may keep what is told, as the last one."""
        if self.size == 1:
            return
        left = self._store.add("left", 1)
        while self.leads and left < self.size:
            time.sleep(_POLL_SECONDS)
            left = self._store.add("left", 0)

    @contextlib.contextmanager
    def rank_0_first(self) -> Iterator[None]:
        """Of an error that all ranks raise, let rank 0 be the first to fail."""
        try:
            yield
        except MmtkError as error:
            with contextlib.suppress(Exception):  # the store has gone with rank 0
                while error.on_all_ranks and not self.leads and not self._store.check(["failed"]):
                    time.sleep(_POLL_SECONDS)
            raise

    def speaks_for_failure(self) -> bool:
        """Whether this rank, which is about to fail, is the first one; the others then keep silent."""
        if self.size == 1:
            return True
        try:
            winner = self._store.compare_set("failed", "", str(self.rank))
        except Exception:  # the store has gone with rank 0, which held it
            return self.rank == 1
        return bool(winner.decode() == str(self.rank))


@contextlib.contextmanager
def before_meeting() -> Iterator[None]:
    """Let rank 0 alone speak of a mistake that every rank finds by itself, before they meet."""
    try:
        yield
    except MmtkError as error:
        if os.environ.get("RANK", "0") != "0":
            raise SilentExitError(_exit_code(error)) from error
        raise


@contextlib.contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """Join the other ranks of the run, if torchrun has started this process, and leave them at the end.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; decides between NCCL and gloo.

    Raises:
        StageError: the ranks don't find each other, or the recipe gives all of them one device.
        SilentExitError: in place of any error, where another rank has failed before.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    # Otherwise every rank repeats torch's advice, e.g. that all parameters were used in the first step.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    import torch.distributed as dist

    if device.startswith("cuda:"):
        raise StageError(f"the recipe gives every rank the one device '{device}'; use device=cuda or auto")
    cuda = device != "cpu" and torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        _take_device(local_rank, torch.cuda.device_count())
    try:
        store, rank, size = next(dist.rendezvous("env://"))
        # A restart by torchrun finds the same store, with what the earlier try has left in it.
        prefix = f"mmtk/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=dist.PrefixStore(f"{prefix}/group", store),
            rank=rank,
            world_size=size,
        )
    except (RuntimeError, ValueError, dist.DistError) as error:
        raise StageError(f"the ranks of this run don't find each other: {error}") from error
    ranks = Ranks(rank, local_rank, size, dist.PrefixStore(f"{prefix}/mmtk", store))
    try:
        with ranks.rank_0_first():
            yield ranks
    except BaseException as error:
        if not ranks.speaks_for_failure():
            raise SilentExitError(_exit_code(error)) from error
        if _lost_contact(error):
            raise StageError(
                "lost contact with another rank, which ended without a message; was it killed, or out of "
                f"memory? ({str(error).splitlines()[0][:200]})"
            ) from error
        raise
    ranks.part()
    # A rank that fails doesn't come here: it must not wait for the others, which may sit in a collective.
    dist.destroy_process_group()


def _exit_code(error: BaseException) -> int:
    if isinstance(error, MmtkError):
        return 2
    return int(getattr(error, "exit_code", 1))


def _take_device(local_rank: int, devices: int) -> None:
    import torch

    if local_rank >= devices:
        raise StageError(
            f"there are more ranks on this machine than its {devices} CUDA devices; start fewer, or use "
            "device=cpu"
        )
    torch.cuda.set_device(local_rank)


def _lost_contact(error: BaseException) -> bool:
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(backend in text for backend in ("gloo", "nccl"))
