"""What a training run consists of, by names that are the same under every strategy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmtk.distributed.spread import Spread, fill, whole_tensors
from mmtk.engine.weights import misfits_of
from mmtk.errors import CheckpointError

_OPTIMIZER = "optimizer."


class TrainingState(NamedTuple):
    """Tensors and numbers of learner, momentum encoder and optimizer.

    Attributes:
        tensors: on the CPU and whole: ``learner.NAME``, ``momentum.NAME`` and, of the optimizer,
            ``optimizer.SLOT.NAME`` for the parameter ``NAME`` of the learner.
        numbers: the optimizer's other values, as JSON.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


def take_state(spread: Spread) -> TrainingState:
    """Copy the state to the CPU. Every rank must call it; rank 0 gets all of it."""
    with spread.tensors() as tensors:
        whole = whole_tensors(tensors)
    moments, numbers = _named_optimizer_state(spread)
    return TrainingState(whole | whole_tensors(moments), numbers)


def learner_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a state's tensors the learner's, by its own names."""
    prefix = "learner."
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def put_state(spread: Spread, state: TrainingState) -> None:
    """Copy a whole state into its place. Every rank must call it, with the same state.

    Raises CheckpointError when it is another model's or another optimizer's.
    """
    modules = {name: tensor for name, tensor in state.tensors.items() if not name.startswith(_OPTIMIZER)}
    with spread.tensors() as tensors:
        if differences := misfits_of(tensors, modules):
            raise CheckpointError(f"it doesn't fit the model: {'; '.join(differences[:3])}")
        fill(tensors, modules)
    put_optimizer_state(spread, state.tensors, state.numbers)


def sharded_tensors(spread: Spread) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The same names as ``take_state``'s, with the shards that each rank holds, in place, and the numbers."""
    with spread.tensors() as tensors:
        moments, numbers = _named_optimizer_state(spread)
        return {**tensors, **moments}, numbers


def ensure_optimizer_state(spread: Spread) -> None:
    """Make an optimizer that has not stepped yet hold its slots, so that a state can be read into them."""
    if spread.optimizer.state:
        return
    rates = [group["lr"] for group in spread.optimizer.param_groups]
    for group in spread.optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    # A step at rate 0: weights stay (decoupled decay is scaled by the rate) and every slot is made.
    spread.optimizer.step()
    spread.optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(spread.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def put_optimizer_state(spread: Spread, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Give the optimizer the slots that a state has, and no others. Every rank must call it.

    They are whole or this rank's own shards.

    Raises CheckpointError when they are another optimizer's.
    """
    names = _parameter_names(spread)
    slots: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, slot, value in _slot_values(tensors, numbers):
        if name not in slots:
            raise CheckpointError(f"it has the optimizer's {slot} of {name}, which is not trained here")
        slots[name][slot] = value
    own = spread.optimizer.param_groups
    if len(own) != len(numbers["groups"]):
        raise CheckpointError(
            f"it has {len(numbers['groups'])} groups of parameters for the optimizer, which has {len(own)} "
            "here"
        )
    places = iter(range(len(names)))
    groups = [
        {
            **{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()},
            "lr": group["lr"],  # the peak, by the recipe; what was saved is a schedule's
            "params": [next(places) for _ in group["params"]],
        }
        for settings, group in zip(numbers["groups"], own, strict=True)
    ]
    state = {index: slots[name] for index, name in enumerate(names) if slots[name]}
    spread.load_optimizer_state({"state": state, "param_groups": groups})


def _parameter_names(spread: Spread) -> list[str]:
    """The learner's names of the optimizer's parameters, in the order of the optimizer's own numbering."""
    names = {parameter: name for name, parameter in spread.learner.named_parameters()}
    return [names[p] for group in spread.optimizer.param_groups for p in group["params"]]


def _named_optimizer_state(spread: Spread) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state, names = spread.optimizer_state(), _parameter_names(spread)
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {"slots": {}, "groups": []}
    for index, slots in state["state"].items():
        for slot, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{slot}.{names[index]}"] = value
            else:
                numbers["slots"].setdefault(slot, {})[names[index]] = _plain(value, slot)
    for group in state["param_groups"]:
        settings = {key: value for key, value in group.items() if key != "params"}
        numbers["groups"].append({key: _plain(value, key) for key, value in settings.items()})
    return tensors, numbers


def _slot_values(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for key, tensor in tensors.items():
        if key.startswith(_OPTIMIZER):
            slot, _, name = key.removeprefix(_OPTIMIZER).partition(".")
            yield name, slot, tensor
    for slot, values in numbers["slots"].items():
        for name, value in values.items():
            yield name, slot, value


def _plain(value: Any, name: str) -> Any:
    """A value that JSON holds exactly."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, tuple | list):
        return [_plain(each, name) for each in value]
    if (
        value is None
        or isinstance(value, bool | int | str)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise CheckpointError(f"the optimizer's {name} is a {type(value).__name__}, which can't be saved")
