"""Everything in shards, by fairscale's FullyShardedDataParallel (ZeRO stage 3)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from fairscale.nn.data_parallel import FullyShardedDataParallel
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from mmtk.api import Spread, StageError, Workload, plain, rank, world_size

_WRAPPERS = ("_fsdp_wrapped_module.", "_fpw_module.")


class FairscaleFsdp:
    """Each rank keeps a part of every parameter; layers are gathered for the time that they compute.

    Layers that offer other methods than ``forward`` belong to the whole, which is gathered for the whole
    step.

    Args:
        reshard_after_forward: gather a layer a second time for its backward pass.
        cpu_offload: keep the shards in the CPU's memory.
    """

    needs_cuda = True

    def __init__(self, *, reshard_after_forward: bool = True, cpu_offload: bool = False) -> None:
        self._options: dict[str, Any] = {
            "reshard_after_forward": reshard_after_forward,
            "flatten_parameters": False,  # the parameters keep their names
            "move_params_to_cpu": cpu_offload,
        }

    def __call__(self, workload: Workload) -> Spread:
        """Raises StageError on the CPU."""
        if world_size() == 1:
            return plain(workload)
        if reason := self.refusal(workload.device.type, world_size()):
            raise StageError(reason)
        twin_layers = workload.twin_layers()
        workload.to_device()
        objective = self._wrap(workload.objective, workload.layers)
        if workload.momentum is not None:
            twin: nn.Module = workload.momentum.twin  # type: ignore[assignment]
            workload.momentum.twin = self._wrap(twin, twin_layers)
        return FairscaleFsdpSpread(workload, objective, workload.build_optimizer())

    def refusal(self, device: str, ranks: int) -> str | None:
        if ranks == 1 or device == "cuda":
            return None
        return (
            "strategy 'fairscale_fsdp' needs CUDA: fairscale's FullyShardedDataParallel streams between "
            "a GPU's queues; on CPUs use fsdp2 or fairscale_oss"
        )

    def _wrap(self, root: nn.Module, layers: Iterable[nn.Module]) -> FullyShardedDataParallel:
        whole = {layer for layer in layers if not getattr(layer, "forward_methods", ())}
        for parent in list(root.modules()):
            for name, child in parent.named_children():
                if child in whole:
                    setattr(parent, name, FullyShardedDataParallel(child, **self._options))
        return FullyShardedDataParallel(root, **self._options)


class FairscaleFsdpSpread(Spread):
    """A workload in shards. States are saved whole."""

    sharded_saving = False
    objective: FullyShardedDataParallel

    def accumulating(self) -> AbstractContextManager[None]:
        return self.objective.no_sync()

    def gradient_norm(self) -> Tensor:
        squares = get_total_norm(self.gradients()).square().to("cuda")
        dist.all_reduce(squares)
        return torch.sqrt(squares)

    @contextlib.contextmanager
    def tensors(self) -> Iterator[dict[str, Tensor]]:
        roots = [self.objective]
        if "momentum" in self.modules:
            roots.append(self.modules["momentum"].twin)
        with contextlib.ExitStack() as stack:
            for root in roots:
                stack.enter_context(root.summon_full_params())
            named = [*self.modules.named_parameters(), *self.modules.named_buffers()]
            yield {_plain(name): tensor.data for name, tensor in named}

    def optimizer_state(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()
        for index, slots in state["state"].items():
            shape = self._original_shape(index)
            for name, value in slots.items():
                if isinstance(value, Tensor) and value.ndim > 0:
                    slots[name] = _joined(value, shape)
        return state if rank() == 0 else {"state": {}, "param_groups": state["param_groups"]}

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        for index, slots in state["state"].items():
            shape = self._original_shape(index)
            for name, value in slots.items():
                if isinstance(value, Tensor) and value.shape == shape and value.ndim > 0:
                    slots[name] = _shard(value)
        self.optimizer.load_state_dict(state)

    def _original_shape(self, index: int) -> torch.Size:
        """The shape that the optimizer's parameter ``index`` has when it is whole."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        shape: torch.Size = parameters[index]._orig_size
        return shape


def _plain(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _joined(shard: Tensor, shape: torch.Size) -> Tensor:
    """Put the ranks' flat shards of a tensor together."""
    flat = shard.cuda().flatten().contiguous()
    shards = [torch.empty_like(flat) for _ in range(world_size())]
    dist.all_gather(shards, flat)
    return torch.cat(shards)[: shape.numel()].view(shape)


def _shard(whole: Tensor) -> Tensor:
    """This rank's flat shard of a tensor: equal parts, the last one filled up with zeros."""
    size = -(-whole.numel() // world_size())
    part = whole.flatten()[rank() * size : (rank() + 1) * size]
    return torch.cat((part, part.new_zeros(size - len(part))))
