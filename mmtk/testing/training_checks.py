"""What optimizers, schedules, activation checkpointing, loggers and metrics promise."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmtk.data.pipeline import EvaluationData
from mmtk.engine.learner import Learner
from mmtk.kinds import LayerWrapper, Logger, Metric, OptimizerFactory, Schedule
from mmtk.report.wording import counted
from mmtk.testing.promise import own_random_state, promise
from mmtk.testing.tiny import tiny_data, tiny_stage_context


def check_optimizer(factory: OptimizerFactory) -> None:
    """An optimizer over every trained parameter, with a rate per group, that trains and can be stored."""
    network, target = _network(), torch.ones(8, 3)
    network[0].bias.requires_grad_(False)
    optimizer = factory(network.named_parameters())
    promise(isinstance(optimizer, torch.optim.Optimizer), factory, "makes no torch.optim.Optimizer")
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, parameter in network.named_parameters():
        count = sum(parameter is one for one in held)
        if parameter.requires_grad:
            promise(count == 1, factory, f"holds the parameter '{name}' {count} times and not once")
        else:
            promise(count == 0, factory, f"holds '{name}', which isn't trained")
    rates = [group.get("lr") for group in optimizer.param_groups]
    numbers = all(isinstance(rate, float) and rate >= 0 for rate in rates)
    promise(numbers, factory, f"the rates of its groups, which schedules scale, are {rates}")
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (network(inputs) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    promise(
        losses[-1] < losses[0],
        factory,
        f"30 steps at a rate of 0.01 change a loss {losses[0]:g} to {losses[-1]:g}",
    )
    twin = copy.deepcopy(network)
    other = factory(twin.named_parameters())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, two in ((network, optimizer), (twin, other)):
        two.zero_grad()
        (one(inputs) - target).square().mean().backward()
        two.step()
    same = all(map(torch.equal, network.parameters(), twin.parameters()))
    promise(same, factory, "takes another step after its state was stored and loaded")


def _network() -> Any:
    with own_random_state(0):
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 3))


def check_schedule(schedule: Schedule) -> None:
    """A factor from 0 to 1 at every step of runs long and short, by its arguments alone."""
    for steps_per_epoch, total in ((10, 40), (1, 1), (7, 7), (1000, 3)):
        factors = [schedule(step, steps_per_epoch, total) for step in range(total)]
        for step, factor in enumerate(factors):
            where = f"at step {step} of {total}, {steps_per_epoch} in an epoch"
            right = isinstance(factor, float | int) and math.isfinite(factor) and 0 <= factor <= 1 + 1e-9
            promise(right, schedule, f"gives {factor!r} {where}: no factor from 0 to 1")
        backwards = [schedule(step, steps_per_epoch, total) for step in reversed(range(total))]
        promise(factors == backwards[::-1], schedule, "gives another factor when steps are asked for again")
        promise(
            any(factors), schedule, f"is 0 throughout {counted(total, 'step')}, so that nothing is trained"
        )


def check_activation_checkpointing(wrapper: LayerWrapper) -> None:
    """Layers with the parameters' names, results and gradients that they had."""
    plain, wrapped = _network(), _network()
    wrapper(list(wrapped))
    names = [[name for name, _ in network.named_parameters()] for network in (plain, wrapped)]
    promise(names[0] == names[1], wrapper, f"the names of parameters become {names[1]}")
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    results = [network(inputs.clone().requires_grad_()) for network in (plain, wrapped)]
    promise(torch.allclose(*results), wrapper, "the layers give another result")
    for result in results:
        result.square().sum().backward()
    for one, two in zip(plain.parameters(), wrapped.parameters(), strict=True):
        same = two.grad is not None and one.grad is not None and torch.allclose(one.grad, two.grad)
        promise(same, wrapper, "the layers' parameters get other gradients, or none")


def check_logger(make: Callable[[Path], Logger], folder: Path) -> None:
    """Takes figures of any step, NaN too, goes on after a restart, and changes nothing that it is given.

    Args:
        make: builds the logger, given the stage's folder.
        folder: empty.
    """
    logger = make(folder)
    rewind: Callable[[int], None] | None = getattr(logger, "rewind", None)
    if rewind:
        rewind(0)
    figures = {"loss": 1.5, "loss/itc": 0.25, "lr": 1e-9, "odd": math.nan, "huge": math.inf}
    given = dict(figures)
    for step in (1, 2, 10):
        logger.log(step, figures)
    promise(list(figures) == list(given), logger, "changes the figures that it is given")
    logger.close()
    again = make(folder)
    if rewind:
        again.rewind(2)  # type: ignore[attr-defined]
    again.log(3, {"loss": 1.0, "new": 2.0})
    again.close()
    make(folder).close()


def check_metric(
    metric: Metric, learner: Learner, data: EvaluationData | None = None, *, folder: Path
) -> None:
    """Finite figures by name, the same each time, and a learner that is left as it was.

    Args:
        metric: built.
        learner: ``tiny_learner(folder)``, or one with the heads that the metric asks for.
        data: what to score it on; None takes ``tiny_data()``.
        folder: a stage's folder.
    """
    data = data or tiny_data()
    context = tiny_stage_context(folder)
    learner.eval()
    before = copy.deepcopy(learner.state_dict())
    first = _figures(metric, metric(learner, data, context))
    second = _figures(metric, metric(learner, data, context))
    promise(first == second, metric, f"gives {second} the second time and {first} the first")
    same = all(torch.equal(tensor, before[name]) for name, tensor in learner.state_dict().items())
    promise(same, metric, "changes the learner's weights")
    promise(not learner.training, metric, "leaves the learner in training mode")
    kept = [name for name, parameter in learner.named_parameters() if parameter.grad is not None]
    promise(not kept, metric, f"leaves gradients at {', '.join(kept[:3])}")


def _figures(metric: Metric, figures: Any) -> Mapping[str, float]:
    promise(
        isinstance(figures, Mapping) and bool(figures), metric, f"returns {figures!r} and no named figures"
    )
    for name, value in figures.items():
        right = isinstance(value, float | int) and math.isfinite(value)
        promise(right, metric, f"the figure '{name}' is {value!r}: no finite number, which JSON could hold")
    return dict(figures)
