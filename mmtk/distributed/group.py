"""The processes of one run, as torchrun starts them, brought together and parted again.

Without torchrun's environment there is one rank and nothing here does anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from mmtk.distributed.launcher import end_with_launcher
from mmtk.distributed.ranks import Ranks, SilentExitError
from mmtk.errors import LostContactError, MmtkError, StageError


@contextlib.contextmanager
def before_meeting() -> Iterator[None]:
    """Let rank 0 alone speak of what every rank finds by itself, before they meet: a mistake, a Ctrl-C."""
    try:
        yield
    except (MmtkError, KeyboardInterrupt) as error:
        if os.environ.get("RANK", "0") != "0":
            raise SilentExitError(error) from error
        raise


@contextlib.contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """Join the other ranks of the run, if torchrun has started this process, and leave them at the end.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; decides between NCCL and gloo.

    Raises:
        StageError: the recipe gives all ranks one device, there are more ranks than devices, or the
            environment doesn't say where they meet.
        LostContactError: the ranks don't find each other, or one has gone without a word.
        SilentExitError: in place of any error, where another rank has failed before.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    end_with_launcher()
    with before_meeting():
        # Otherwise every rank repeats torch's advice, e.g. that all parameters were used in the first step.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        import torch
        import torch.distributed as dist

        if device.startswith("cuda:"):
            raise StageError(
                f"the recipe gives every rank the one device '{device}'; use device=cuda or auto"
            )
    cuda = device != "cpu" and torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    with _finding_each_other():
        store, rank, size = next(dist.rendezvous("env://"))
    # A restart by torchrun finds the same store, with what the earlier try has left in it.
    prefix = f"mmtk/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    in_rank_0 = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # torchrun may hold it itself
    ranks = Ranks(
        rank, local_rank, size, dist.PrefixStore(f"{prefix}/mmtk", store), store_in_rank_0=in_rank_0
    )
    with ranks.one_voice():
        if cuda:
            _take_device(local_rank)
        with _finding_each_other():
            group_store = dist.PrefixStore(f"{prefix}/group", store)
            dist.init_process_group(backends(cuda=cuda), store=group_store, rank=rank, world_size=size)
        yield ranks
    ranks.part()
    # A rank that fails doesn't come here: it must not wait for the others, which may sit in a collective.
    dist.destroy_process_group()


def backends(*, cuda: bool) -> str:
    """By what the ranks talk, as ``init_process_group`` takes it.

    With CUDA gloo stays, for shards that ``cpu_offload`` keeps in the CPU's memory, and for objects, which
    then take no way over the GPU.
    """
    return "cpu:gloo,cuda:nccl" if cuda else "gloo"


@contextlib.contextmanager
def _finding_each_other() -> Iterator[None]:
    import torch.distributed as dist

    try:
        yield
    except ValueError as error:
        raise StageError(f"the ranks of this run can't find each other: {error}") from error
    except (RuntimeError, dist.DistError) as error:
        raise LostContactError(f"the ranks of this run don't find each other: {error}") from error


def _take_device(local_rank: int) -> None:
    import torch

    devices = torch.cuda.device_count()
    # Every rank looks at all of them, so that none waits for one that has no device.
    if max(local_rank + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) > devices:
        raise StageError(
            f"there are more ranks on this machine than its {devices} CUDA devices; start fewer, or use "
            "device=cpu"
        )
    torch.cuda.set_device(local_rank)
