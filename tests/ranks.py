"""Runs a function in real processes of one group."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_ranks(function: str, folder: Path, *arguments: Any, ranks: int = 2) -> list[Any]:
    """Call ``function(rank, *arguments)``, named as ``MODULE:NAME``, in each of ``ranks`` processes.

    Returns what they return, in the order of the ranks; an error in one of them is raised here.
    """
    mp.spawn(_enter, (function, ranks, str(folder), arguments), nprocs=ranks)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def _enter(rank: int, function: str, ranks: int, folder: str, arguments: Any) -> None:
    torch.set_num_threads(1)
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=ranks)
    try:
        torch.save(call(rank, *arguments), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()
