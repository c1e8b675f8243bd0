"""Optimizer state and gradients in shards, by fairscale's ShardedDataParallel (ZeRO stage 2)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from fairscale.nn.data_parallel import ShardedDataParallel
from torch import Tensor
from torch.nn.utils import get_total_norm

from mmtk.api import Spread, StageError, Workload, plain, world_size
from mmtk_fairscale.oss import OssSpread, sharded_optimizer


class FairscaleSdp:
    """Each rank keeps the gradients of the parameters that it steps.

    Args:
        reduce_buffer_size: numbers that are reduced together.
    """

    needs_cuda = True

    def __init__(self, *, reduce_buffer_size: int = 2**23) -> None:
        self._buffer = reduce_buffer_size

    def __call__(self, workload: Workload) -> Spread:
        """Raises StageError on the CPU."""
        if world_size() == 1:
            return plain(workload)
        if reason := self.refusal(workload.device.type, world_size()):
            raise StageError(reason)
        workload.to_device()
        optimizer = sharded_optimizer(workload)
        objective = ShardedDataParallel(
            workload.objective, optimizer, broadcast_buffers=False, reduce_buffer_size=self._buffer
        )
        return SdpSpread(workload, objective, optimizer)

    def refusal(self, device: str, ranks: int) -> str | None:
        if ranks == 1 or device == "cuda":
            return None
        return (
            "strategy 'fairscale_sdp' needs CUDA: with gloo on CPUs, fairscale's ShardedDataParallel was "
            "seen to crash and to give other losses; use fairscale_oss or fsdp2"
        )


class SdpSpread(OssSpread):
    """A workload whose gradients are in shards: each parameter has one on one rank."""

    def gradient_norm(self) -> Tensor:
        own = get_total_norm(self.gradients()).to(self.parameters[0].device)
        squares = own.square()
        dist.all_reduce(squares)
        return torch.sqrt(squares)
