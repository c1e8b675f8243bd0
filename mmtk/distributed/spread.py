"""A model spread over the ranks: what a strategy is given, and what it makes of it.

``Spread`` itself is the plain case, in which every rank holds everything. A strategy's own class changes what
differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import get_total_norm

from mmtk.distributed.collectives import gather_objects, local_part, rank

if TYPE_CHECKING:
    from mmtk.kinds import OptimizerFactory


@dataclass(frozen=True)
class Workload:
    """What is to be trained, whole and on the CPU of every rank.

    Attributes:
        objective: the module that the engine calls once for each batch, forward and backward; the learner is
            its part ``learner``.
        momentum: the momentum encoder, called within the objective's forward; None without one.
        layers: parts of the learner that are called whole and make up most of it, from first to last. What a
            part offers beside ``forward`` is named by its attribute ``forward_methods``, a tuple of strings.
        optimizer: makes the optimizer of named parameters.
        device: where this rank computes.
    """

    objective: nn.Module
    momentum: nn.Module | None
    layers: Sequence[nn.Module]
    optimizer: OptimizerFactory
    device: torch.device

    @property
    def learner(self) -> nn.Module:
        learner: nn.Module = self.objective.learner  # type: ignore[assignment]
        return learner

    def twin_layers(self) -> list[nn.Module]:
        """The parts of the momentum encoder's slow copy that are copies of ``layers``."""
        if self.momentum is None:
            return []
        towers, layers = self.learner.model.feature_towers(), set(self.layers)  # type: ignore[union-attr, operator]
        twin: nn.Module = self.momentum.twin  # type: ignore[assignment]
        pairs = zip(towers.modules(), twin.modules(), strict=True)
        return [slow for fast, slow in pairs if fast in layers]

    def to_device(self) -> None:
        """Move everything to this rank's device."""
        self.objective.to(self.device)
        if self.momentum is not None:
            self.momentum.to(self.device)

    def build_optimizer(self) -> torch.optim.Optimizer:
        """Make the optimizer over the learner's parameters as they are now."""
        return self.optimizer(self.learner.named_parameters())


class Spread:
    """A workload in its place, every rank holding all of it.

    Attributes:
        objective: what to call in place of the workload's objective.
        optimizer: steps what this rank holds.
        learner: holds whole tensors or ``DTensor`` shards.
        sharded_saving: whether ``torch.distributed.checkpoint`` can save and load its tensors.
    """

    sharded_saving = True

    def __init__(self, workload: Workload, objective: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.objective = objective
        self.optimizer = optimizer
        self.learner = workload.learner
        self.modules = nn.ModuleDict({"learner": workload.learner})
        if workload.momentum is not None:
            self.modules["momentum"] = workload.momentum
        self.parameters = [p for p in workload.learner.parameters() if p.requires_grad]

    def accumulating(self) -> AbstractContextManager[None]:
        """Within it, each rank keeps its gradients to itself, to be joined by a later backward pass."""
        return contextlib.nullcontext()

    def finish_backward(self) -> None:
        """Called after a step's last backward pass: join what it hasn't joined."""

    def gradients(self) -> list[Tensor]:
        """This rank's gradients: whole ones or shards."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def gradient_norm(self) -> Tensor:
        """Euclidean norm ``()`` of the gradient of all parameters on all ranks."""
        sharded = [g for g in self.gradients() if isinstance(g, DTensor)]
        whole = [g for g in self.gradients() if not isinstance(g, DTensor)]
        norms = [get_total_norm(whole)] if whole or not sharded else []
        if sharded:
            total = get_total_norm(sharded)
            norms.append(total.full_tensor() if isinstance(total, DTensor) else total)
        if len(norms) == 1:
            return norms[0]
        # Shards may be kept by the CPU while scalars are on the GPU.
        return torch.stack([norm.to(norms[0].device) for norm in norms]).square().sum().sqrt()

    @contextlib.contextmanager
    def tensors(self) -> Iterator[dict[str, Tensor]]:
        """Give the tensors of learner and momentum encoder, by name (``learner.…``), to read or to write to.

        Shards are ``DTensor``. Every rank must enter it.
        """
        yield self.modules.state_dict()

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state dict. Every rank must call it; rank 0 gets all of it, others may get less."""
        return self.optimizer.state_dict()

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Load a state dict of whole tensors or of this rank's own shards. Every rank must call it."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for index, slots in state["state"].items():
            for name, value in slots.items():
                slots[name] = _placed_like(value, parameters[index])
        self.optimizer.load_state_dict(state)


def whole_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to rank 0's CPU, shards put together. Every rank must call it, with the same names.

    What goes by several names is copied once. The other ranks get nothing: they would only let go of it.
    """
    # A rank can't tell by an empty shard what it is a part of; so all go by what rank 0 finds.
    other_names: dict[str, str] = gather_objects(_ties(tensors) if rank() == 0 else {})[0]
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in other_names:
            if rank() == 0:
                whole[name] = whole[other_names[name]]
            continue
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if rank() == 0:
            whole[name] = full.detach().to("cpu", copy=True).contiguous()
    return whole


def _ties(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """For every name but the first of the same memory, that first name."""
    first_names: dict[tuple[object, ...], str] = {}
    ties: dict[str, str] = {}
    for name, tensor in tensors.items():
        local = local_part(tensor)
        place = (local.data_ptr(), local.dtype, local.shape, local.stride()) if local.numel() else (name,)
        first = first_names.setdefault(place, name)
        if first != name:
            ties[name] = first
    return ties


@torch.no_grad()
def fill(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    """Copy whole tensors into tensors or shards of the same names."""
    for name, target in targets.items():
        local_part(target).copy_(local_part(_placed_like(sources[name], target)))


def _placed_like(value: Any, parameter: Tensor) -> Any:
    """Cut a whole tensor into shards as the parameter's, where it has its shape; else return it as it is."""
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor) or isinstance(value, DTensor):
        return value
    if value.shape != parameter.shape:
        return value
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each rank's tensors by their mean over the ranks. Every rank must call it."""
    import torch.distributed as dist

    for tensor in tensors:
        dist.all_reduce(tensor)
        tensor.div_(dist.get_world_size())
