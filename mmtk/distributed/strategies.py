"""The strategies that torch brings along."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from mmtk.distributed.collectives import world_size
from mmtk.distributed.spread import Spread, Workload, average
from mmtk.errors import StageError


class Single:
    """One rank that holds everything."""

    def __call__(self, workload: Workload) -> Spread:
        """Raises StageError when there are several ranks."""
        if reason := self.refusal(workload.device.type, world_size()):
            raise StageError(reason)
        return plain(workload)

    def refusal(self, _device: str, ranks: int) -> str | None:
        if ranks == 1:
            return None
        return f"strategy 'single' trains on one rank, and this run has {ranks}; use ddp, fsdp2 or another"


def plain(workload: Workload) -> Spread:
    """Put a workload on the one rank there is."""
    workload.to_device()
    return Spread(workload, workload.objective, workload.build_optimizer())


class Ddp:
    """Every rank holds everything; gradients are averaged (torch's DistributedDataParallel)."""

    def __call__(self, workload: Workload) -> Spread:
        if world_size() == 1:
            return plain(workload)
        workload.to_device()
        return DdpSpread(workload, replicated(workload.objective), workload.build_optimizer())


def replicated(objective: nn.Module) -> DistributedDataParallel:
    """Average gradients over the ranks; buffers are the engine's business, and queues are equal anyway."""
    with warnings.catch_warnings():
        # torch 2.14 has another word for it, which 2.11 doesn't know.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        return DistributedDataParallel(
            objective, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
        )


class DdpSpread(Spread):
    """A workload whose gradients DistributedDataParallel averages."""

    objective: DistributedDataParallel

    def accumulating(self) -> AbstractContextManager[None]:
        return self.objective.no_sync()


# Keys and values are views, which nothing changes in place.
warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)


class Fsdp2:
    """Parameters, gradients and optimizer state in shards (torch's ``fully_shard``); so is the slow copy.

    Args:
        reshard_after_forward: drop a layer's gathered parameters after its forward pass and gather them again
            for its backward pass: less memory, more traffic. The slow copy, which has no backward pass, drops
            them in any case.
        cpu_offload: keep the shards in the CPU's memory between uses.
    """

    def __init__(self, *, reshard_after_forward: bool = True, cpu_offload: bool = False) -> None:
        self._reshard = reshard_after_forward
        self._offload = cpu_offload

    def __call__(self, workload: Workload) -> Spread:
        """Raises StageError when shards shall be kept by the CPU and it is what computes."""
        if reason := self.refusal(workload.device.type, world_size()):
            raise StageError(reason)
        if world_size() == 1:
            return plain(workload)
        mesh = init_device_mesh(workload.device.type, (world_size(),))
        twin_layers = workload.twin_layers()
        scalars = self._shard(workload.objective, workload.layers, mesh, self._reshard)
        if workload.momentum is not None:
            twin: nn.Module = workload.momentum.twin  # type: ignore[assignment]
            # The average is taken of shards, and no backward pass would bring the copy back to its own.
            self._shard(twin, twin_layers, mesh, reshard=True)
        workload.to_device()  # what is not sharded: buffers, scalars, queues
        return FsdpSpread(workload, scalars)

    def refusal(self, device: str, _ranks: int) -> str | None:
        if self._offload and device == "cpu":
            return "strategy 'fsdp2': cpu_offload moves shards off a GPU, and this run has none"
        return None

    def _shard(
        self, root: nn.Module, layers: Sequence[nn.Module], mesh: DeviceMesh, reshard: bool
    ) -> list[nn.Parameter]:
        """Shard ``root`` layer by layer in its place; return the scalars, which can't be sharded."""
        scalars = {p for p in root.parameters() if p.ndim == 0}
        options: dict[str, Any] = {
            "mesh": mesh,
            "reshard_after_forward": reshard,
            "offload_policy": CPUOffloadPolicy() if self._offload else OffloadPolicy(),
            "ignored_params": scalars,
        }
        for module in (*layers, root):
            fully_shard(module, **options)
            for method in getattr(module, "forward_methods", ()):
                register_fsdp_forward_method(module, method)
        return [p for p in root.parameters() if p in scalars]


class FsdpSpread(Spread):
    """A workload in shards.

    Args:
        scalars: parameters that every rank holds whole.
    """

    def __init__(self, workload: Workload, scalars: list[nn.Parameter]) -> None:
        super().__init__(workload, workload.objective, workload.build_optimizer())
        self._scalars = [p for p in scalars if p.requires_grad]

    def accumulating(self) -> AbstractContextManager[None]:
        return _Unsynchronised(self.objective)

    def finish_backward(self) -> None:
        average(p.grad for p in self._scalars if isinstance(p.grad, Tensor))


class _Unsynchronised(AbstractContextManager[None]):
    def __init__(self, root: Any) -> None:
        self._root = root

    def __enter__(self) -> None:
        self._root.set_requires_gradient_sync(False)

    def __exit__(self, *_: object) -> None:
        self._root.set_requires_gradient_sync(True)
