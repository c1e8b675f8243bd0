"""What strategies promise, on one rank and on several."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from mmtk.distributed.collectives import gather_objects, local_part, rank, world_size
from mmtk.distributed.spread import Spread, Workload
from mmtk.distributed.strategies import plain
from mmtk.engine.training_state import TrainingState, put_state, take_state
from mmtk.kinds import Strategy
from mmtk.testing.promise import own_random_state, promise

ROWS = 4  # of each rank's batch


class _Towers(nn.Sequential):
    """Two layers that a strategy may shard one by one."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.towers = _Towers()

    def feature_towers(self) -> nn.Module:
        return self.towers


class _Learner(nn.Module):
    """A model, and a scalar, which can't be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.model = _Model()
        self.scale = nn.Parameter(torch.tensor(1.5))


class _Momentum(nn.Module):
    """A slow copy of the towers."""

    def __init__(self, model: _Model) -> None:
        super().__init__()
        self.twin: nn.Module = copy.deepcopy(model.towers).requires_grad_(False)

    @torch.no_grad()
    def move(self, model: _Model) -> None:
        for slow, fast in zip(self.twin.parameters(), model.towers.parameters(), strict=True):
            slow.lerp_(fast, 0.5)


class _Objective(nn.Module):
    """The distance of the towers to the targets, moved by the slow copy."""

    def __init__(self, learner: _Learner, momentum: _Momentum) -> None:
        super().__init__()
        self.learner = learner
        self._momentum = (momentum,)  # in a tuple, so that it is no part of the objective

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        learner: _Learner = self.learner
        found = learner.scale * learner.model.towers(inputs)
        return (found - targets - self._momentum[0].twin(inputs).detach()).square().mean()


def _optimizer(named_parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW([parameter for _, parameter in named_parameters], lr=0.01, eps=1e-3)


def _workload(device: torch.device) -> Workload:
    """The same on every rank and at every call."""
    with own_random_state(0):
        learner = _Learner()
    momentum = _Momentum(learner.model)
    layers = [learner.model.towers[0], learner.model.towers[2]]
    return Workload(_Objective(learner, momentum), momentum, layers, _optimizer, device)


class _Trained:
    """A workload in its place, and the rows that it is trained with."""

    def __init__(self, strategy: Strategy, device: torch.device, *, own_rows: bool) -> None:
        workload = _workload(device)
        self.spread: Spread = strategy(workload)
        self._momentum, self._model = workload.momentum, workload.learner.model
        self._device = device
        self._own = slice(rank() * ROWS, (rank() + 1) * ROWS) if own_rows else slice(None)

    def step(self, number: int, batches: int) -> float:
        """Do a step as the engine does one, on ``batches`` batches; return the gradient's norm."""
        generator = torch.Generator().manual_seed(number)
        for part in range(batches):
            whole = torch.randn(ROWS * world_size(), 10, generator=generator).to(self._device)
            inputs, targets = whole[self._own, :6], whole[self._own, 6:]
            last = part == batches - 1
            with nullcontext() if last else self.spread.accumulating():
                (self.spread.objective(inputs, targets) / batches).backward()
        self.spread.finish_backward()
        norm = float(self.spread.gradient_norm())
        self.spread.optimizer.step()
        self.spread.optimizer.zero_grad(set_to_none=True)
        self._momentum.move(self._model)  # type: ignore[operator, union-attr]
        return norm

    def unlike(self) -> list[str]:
        """The towers' parameters of which this rank holds another part than of the slow copy's."""
        towers = self._model.feature_towers()  # type: ignore[operator, union-attr]
        pairs = zip(towers.named_parameters(), self._momentum.twin.parameters(), strict=True)  # type: ignore[union-attr]
        return [name for (name, fast), slow in pairs if local_part(fast).shape != local_part(slow).shape]


def check_strategy(strategy: Strategy, *, device: str = "cpu") -> None:
    """Trains as one rank does with the whole batch, and takes and gives the state whole.

    Of a process group every rank has to call it, and the strategy is checked on all of them; without one it
    is checked on one rank. A StageError by which it refuses the device is passed on.

    Args:
        strategy: built.
        device: where it shall compute.
    """
    place = torch.device(device)
    needs = getattr(strategy, "needs_cuda", False)
    promise(isinstance(needs, bool), strategy, f"its needs_cuda is {needs!r} and no bool")
    spread, single = _Trained(strategy, place, own_rows=True), _Trained(plain, place, own_rows=False)
    promise(isinstance(spread.spread, Spread), strategy, f"returns {type(spread.spread).__name__}, no Spread")
    unlike = spread.unlike()
    promise(not unlike, strategy, f"shards the momentum encoder's twin otherwise than {', '.join(unlike)}")
    for number, batches in enumerate((1, 2)):
        _promise_step(strategy, spread, single, number, batches)
    state = _promise_state(strategy, spread, single, "after two steps")
    fresh = _Trained(strategy, place, own_rows=True)
    put_state(fresh.spread, gather_objects(state)[0])
    taken = take_state(fresh.spread)
    promise(_unequal(state, taken, exact=True) is None, strategy, "gives another state than it has taken")
    _promise_step(strategy, fresh, single, 2, 1)
    _promise_state(strategy, fresh, single, "after a step that went on from a state")


def _promise_step(strategy: Strategy, spread: _Trained, single: _Trained, number: int, batches: int) -> None:
    found, expected = spread.step(number, batches), single.step(number, batches)
    close = abs(found - expected) <= 1e-3 * expected
    what = f"the gradient's norm in a step of {batches} batches is {found:g}"
    promise(close, strategy, f"{what}, and {expected:g} on one rank")


def _promise_state(strategy: Strategy, spread: _Trained, single: _Trained, when: str) -> TrainingState:
    found, expected = take_state(spread.spread), take_state(single.spread)
    name = _unequal(expected, found)
    promise(name is None, strategy, f"{name} {when} is another than on one rank")
    return found


def _unequal(one: TrainingState, other: TrainingState, *, exact: bool = False) -> str | None:
    """The first tensor that isn't in both or differs; None on ranks that get nothing of a state."""
    if rank() > 0:
        return None
    for name in sorted(one.tensors.keys() | other.tensors.keys()):
        mine, its = one.tensors.get(name), other.tensors.get(name)
        if mine is None or its is None or mine.shape != its.shape:
            return name
        if not (torch.equal(mine, its) if exact else torch.allclose(mine, its, rtol=1e-3, atol=1e-5)):
            return name
    return None
