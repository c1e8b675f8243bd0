"""Tensors in torch's distributed checkpoint, of which each rank writes and reads its own part."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import CheckpointException
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.futures import Future

# Of one rank it says that there is one.
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)


def save_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write tensors to ``folder``. Every rank must call it, with the same names.

    Raises OSError on every rank where the disk fails one of them.
    """
    try:
        dcp.save(dict(tensors), storage_writer=_Writer(folder))
    except CheckpointException as error:
        for failure, _ in error.failures.values():
            if isinstance(failure, OSError):
                raise failure from error
        raise


def shard_names(folder: Path) -> list[str]:
    """The names of the tensors in ``folder``. Raises CheckpointException."""
    return list(dcp.FileSystemReader(folder).read_metadata().state_dict_metadata)


def load_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Read tensors from ``folder`` into their place. Every rank must call it. Raises CheckpointException."""
    dcp.load(dict(tensors), checkpoint_id=folder)


class _Writer(dcp.FileSystemWriter):
    """Raises what the disk has said, which torch hides behind an error of its file format.

    It is looked for on the rank that failed: an error loses what is behind it on the way to another rank.
    """

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[Any]:
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
