"""Tensors of all ranks, for components that look beyond their own batch.

Without a process group there is one rank, and everything here is the identity. The ranks may hold different
numbers of rows, as in a short last batch, but must agree on the other dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from mmtk.errors import MmtkError

_T = TypeVar("_T")


def world_size() -> int:
    """The number of ranks."""
    return dist.get_world_size() if _grouped() else 1


def rank() -> int:
    """This process's rank, from 0."""
    return dist.get_rank() if _grouped() else 0


def row_counts(tensor: Tensor) -> list[int]:
    """How many rows each rank's ``tensor`` has. Every rank must call it."""
    if world_size() == 1:
        return [len(tensor)]
    count = torch.tensor([len(tensor)], device=tensor.device)
    counts = [torch.empty_like(count) for _ in range(world_size())]
    dist.all_gather(counts, count)
    return torch.cat(counts).tolist()


@torch.no_grad()
def gather(tensor: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """The rows of all ranks in the order of the ranks, without gradient. Every rank must call it.

    Args:
        tensor: ``(B, …)`` of any dtype; ``B`` may differ from rank to rank.
        counts: its ``row_counts``, where they are known already; it saves asking for them.

    Returns:
        ``(sum of all B, …)``.
    """
    return tensor.detach() if world_size() == 1 else _gather(tensor, counts or row_counts(tensor))


def gather_with_grad(tensor: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """As ``gather``; each rank's rows then get the sum of the gradients that all ranks have for them.

    Every rank must also run the backward pass through it.
    """
    if world_size() == 1:
        return tensor
    gathered: Tensor = _GatherWithGrad.apply(tensor, counts or row_counts(tensor))
    return gathered


class _GatherWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.counts = counts
        return _gather(tensor, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.split(ctx.counts)[rank()], None


def own_first(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Turn gathered rows ``(sum of counts, …)`` so that this rank's come first."""
    return rows.roll(-sum(counts[: rank()]), 0)


def gather_own_first(tensor: Tensor, counts: Sequence[int]) -> Tensor:
    """As ``gather``, this rank's rows first. Every rank must call it."""
    return own_first(gather(tensor, counts), counts)


@torch.no_grad()
def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean over the ranks of a tensor of one shape on all of them, without gradient."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def gather_objects(value: Any) -> list[Any]:
    """One small picklable value of each rank, in the order of the ranks. Every rank must call it."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def agreed(do: Callable[[], _T]) -> _T:
    """Do what may fail on one rank, and raise on all ranks what the first one that failed has raised.

    Every rank must call it. Of an error that is no ``MmtkError``, the other ranks don't hear.
    """
    if world_size() == 1:
        return do()
    result: _T | None = None
    failure: MmtkError | None = None
    try:
        result = do()
    except MmtkError as error:
        failure = error
    first = next((each for each in gather_objects(failure) if each is not None), None)
    if first is not None:
        first.on_all_ranks = True
        raise first from failure
    return cast(_T, result)


def local_part(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor: its shard of a ``DTensor``, or all of it. It shares memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _gather(tensor: Tensor, counts: Sequence[int]) -> Tensor:
    if tensor.dtype == torch.bool:  # which not every backend takes
        return _gather(tensor.view(torch.uint8), counts).view(torch.bool)
    # Collectives want equal shapes: shorter ranks are filled up to the longest.
    padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    rows = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(rows, padded)
    return torch.cat([each[:count] for each, count in zip(rows, counts, strict=True)])


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()
