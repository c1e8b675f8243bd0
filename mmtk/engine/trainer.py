"""One optimizer step, in its stated order."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmtk.distributed.collectives import gather_objects, local_part, mean_over_ranks, rank, world_size
from mmtk.distributed.spread import Spread, average
from mmtk.engine.loss_scale import LossScale
from mmtk.engine.position import Course
from mmtk.engine.step_clock import section
from mmtk.errors import StageError
from mmtk.kinds import Schedule
from mmtk.printable import brief
from mmtk.report.wording import counted
from mmtk.types import Batch, HeadOutput, StepState, stable_hash


class NonFiniteStepError(StageError):
    """A step that was not taken, because a loss or the gradient is not finite. All ranks raise it together.

    Attributes:
        figures: the step's losses.
        keys: the samples of the step, on all ranks.
    """

    def __init__(self, message: str, figures: Mapping[str, float], keys: Sequence[str]) -> None:
        super().__init__(message)
        self.figures = dict(figures)
        self.keys = list(keys)


class Trainer:
    """Trains a learner step by step.

    A step's order: ``before_step`` of the model, the heads, modules within them and the momentum encoder,
    where they have it; the forward context; the heads; the sum of their losses; backward; clipping; the
    optimizer; and ``after_step`` of the momentum encoder. From the context to backward, that is done for each
    batch of the step. Everything random in it depends on the seed, the step and the rank alone: the
    generators of Python, numpy and torch are seeded anew.

    Args:
        spread: the learner in its place, its objective and its optimizer, whose groups' rates are the peaks
            that ``schedule`` scales.
        momentum: a ``mmtk.kinds.Momentum`` built on the learner's model, or None.
        schedule: learning rate over time.
        seed: the run's seed.
        course: the run's steps.
        clip_norm: greatest norm of the whole gradient; None leaves it.
        loss_scale: for float16.
    """

    def __init__(
        self,
        spread: Spread,
        momentum: Any,
        schedule: Schedule,
        *,
        seed: int,
        course: Course,
        clip_norm: float | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        self.spread = spread
        self.learner: Any = spread.learner
        self.momentum = momentum
        self.optimizer = spread.optimizer
        self.course = course
        self.loss_scale = loss_scale or LossScale(enabled=False)
        self._schedule = schedule
        self._seed = seed
        self._clip_norm = clip_norm
        self._beginning = [*beginning_parts(self.learner), *([] if momentum is None else [momentum])]
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        self._statistics = [b for b in self.learner.buffers() if b.is_floating_point()]
        # Of how many batches the statistics are is a buffer as well.
        self._counted = [b for b in self.learner.buffers() if b.is_floating_point() or b.ndim == 0]

    def step(self, batches: Sequence[Batch], step: int) -> dict[str, float]:
        """Do one optimizer step on ``batches``, after ``step`` of them, and return its figures.

        Batches are worked through one after the other. Each head's loss is the mean over the terms of all
        batches and ranks together, as of one batch that holds them all.

        The figures, which are the same on all ranks: ``loss``, ``loss/HEAD``, ``HEAD/METRIC``, ``lr``,
        ``gradient_norm`` (before clipping) and, in float16, ``loss_scale`` and ``overflows``. A step whose
        scaled gradient overflows is not taken, and its ``gradient_norm`` is infinite.

        Raises:
            NonFiniteStepError: a loss or a gradient is not finite; the optimizer does not step, and batch
                norm's statistics are as before.
        """
        state = self._state(step)
        self._begin(state)
        counted = [buffer.clone() for buffer in self._counted]
        contexts = [
            self.learner.model.context(batch, replace(state, part=part), self.momentum)
            for part, batch in enumerate(batches)
        ]
        figures = self._backward(contexts)
        with section("gradient norm, clipping"):
            norm = self._gradient_norm()
        figures |= {"gradient_norm": norm} | self._overflow_figures()
        keys = [key for batch in batches for key in batch.keys]
        try:
            taken = self._may_step(figures, norm, keys, step)
        except NonFiniteStepError:
            self._undo(counted)
            raise
        if not taken:
            self._undo(counted)
            return figures | {"lr": self.optimizer.param_groups[0]["lr"]}
        with section("gradient norm, clipping"):
            self._clip(norm)
        with section("optimizer"):
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)  # now, so that the next forward pass has the memory
        if self._statistics and world_size() > 1:
            average(self._statistics)  # batch norm's: each rank has seen its own batches
        if self.momentum is not None:
            with section("momentum"):
                self.momentum.after_step(contexts)
        return figures | {"lr": self.optimizer.param_groups[0]["lr"]}

    def _state(self, step: int) -> StepState:
        scheduled = self.course.scheduled(step)
        epoch = scheduled / self.course.steps_per_epoch
        return StepState(step, epoch, self.course.total_steps, self._seed, rank=rank())

    def _backward(self, contexts: Sequence[Any]) -> dict[str, float]:
        """Add up the gradients of all batches and return the figures of all ranks."""
        shares = self._shares(contexts)
        figures: dict[str, float] = defaultdict(float)
        for part, context in enumerate(contexts):
            share = {name: parts[part] for name, parts in shares.items()}
            last = part == len(contexts) - 1
            with nullcontext() if last else self.spread.accumulating():
                for name, value in self._accumulate(context, share).items():
                    figures[name] += value
        with section("backward"):
            self.spread.finish_backward()
        return dict(figures)

    def _begin(self, state: StepState) -> None:
        """Seed the step, call ``before_step`` and set the rate."""
        seed = stable_hash(self._seed, state.step, *state.rank_part)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        for part in self._beginning:
            with section("momentum") if part is self.momentum else nullcontext():
                part.before_step(state)
        course = self.course
        scheduled, last = (course.scheduled(step) for step in (state.step, course.total_steps))
        factor = self._schedule(scheduled, course.steps_per_epoch, last)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def _shares(self, contexts: Sequence[Any]) -> dict[str, list[float]]:
        """What part of each head's terms each context holds, times the ranks, over which is averaged."""
        if len(contexts) == 1 and world_size() == 1:
            return {name: [1.0] for name in self.learner.heads}
        terms = {name: [_terms(head, each) for each in contexts] for name, head in self.learner.heads.items()}
        totals = torch.tensor(
            [float(sum(parts)) for parts in terms.values()], device=contexts[0].batch.image_ids.device
        )
        means = dict(zip(terms, mean_over_ranks(totals).tolist(), strict=True))
        return {
            name: [part / means[name] if means[name] else 0.0 for part in parts]
            for name, parts in terms.items()
        }

    def _accumulate(self, context: Any, share: Mapping[str, float]) -> dict[str, float]:
        """Add a batch's gradients and return its part in the figures."""
        loss, outputs = self.spread.objective(context, share)
        figures = _figures(loss, outputs, share)
        with section("backward"):
            (loss * self.loss_scale.value if self.loss_scale.enabled else loss).backward()
        if hasattr(context, "release"):
            context.release()
        return figures

    def _gradient_norm(self) -> float:
        self.loss_scale.unscale(self.spread.gradients())
        return float(self.spread.gradient_norm())

    def _overflow_figures(self) -> dict[str, float]:
        if not self.loss_scale.enabled:
            return {}
        return {"loss_scale": self.loss_scale.value, "overflows": float(self.loss_scale.overflows)}

    def _may_step(self, figures: Mapping[str, float], norm: float, keys: Sequence[str], step: int) -> bool:
        """Whether to take the step; not where float16 has overflowed."""
        wrong = [name for name in self.learner.heads if not math.isfinite(figures[f"loss/{name}"])]
        if not wrong and math.isfinite(norm):
            self.loss_scale.update(overflow=False)
            return True
        if not wrong and not self.loss_scale.at_floor:
            self.loss_scale.update(overflow=True)
            return False
        if wrong:
            losses = ", ".join(f"head '{name}' gave {figures[f'loss/{name}']}" for name in wrong)
            what = f"the loss is not finite: {losses}"
        else:
            what = self._bad_gradients()
        everyones = [key for keys_of_rank in gather_objects(list(keys)) for key in keys_of_rank]
        raise NonFiniteStepError(f"step {step + 1}: {what}. {_HINT} {_named(everyones)}", figures, everyones)

    def _undo(self, counted: Sequence[Tensor]) -> None:
        """Forget the gradient and what the forward pass has counted: nothing stays of a step not taken."""
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self._counted, counted, strict=True):
            buffer.copy_(before)

    def _bad_gradients(self) -> str:
        """Name the tensors of which any rank holds a part that isn't finite. Every rank must call it."""
        own = [
            name
            for name, p in self.learner.named_parameters()
            if p.grad is not None and not local_part(p.grad).isfinite().all()
        ]
        bad = list(dict.fromkeys(name for names in gather_objects(own) for name in names))
        few = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
        return f"the gradient is not finite in {counted(len(bad), 'tensor')} ({few})"

    def _clip(self, norm: float) -> None:
        """Shorten a gradient of this norm to ``clip_norm``, where it is longer."""
        if self._clip_norm is not None and norm > self._clip_norm:
            gradients = [local_part(gradient) for gradient in self.spread.gradients()]
            torch._foreach_mul_(gradients, self._clip_norm / norm)


def beginning_parts(learner: Any) -> list[Any]:
    """The parts of a learner that have ``before_step``: its model, its heads, then modules within these.

    So a sampler or a loss that a head holds is told the step, whichever the head.
    """
    # By their classes: a strategy's wrapper hands on the methods of what it wraps, which comes by itself.
    within = [module for module in learner.modules() if hasattr(type(module), "before_step")]
    first = [part for part in (learner.model, *learner.heads.values()) if hasattr(part, "before_step")]
    return list(dict.fromkeys([*first, *within]))


_HINT = "The step was not taken. A lower learning rate, a longer warm-up or clip_norm may help."


def _terms(head: Any, context: Any) -> int:
    """Over how many terms of equal weight the head's loss of a batch is the mean."""
    count: int = head.terms(context) if hasattr(head, "terms") else len(context.batch)
    return count


def _named(keys: Sequence[str]) -> str:
    more = f", … ({len(keys)} in all)" if len(keys) > 8 else ""
    return f"The batch: {', '.join(map(brief, keys[:8]))}{more}"


def _figures(loss: Tensor, outputs: Mapping[str, HeadOutput], share: Mapping[str, float]) -> dict[str, float]:
    """Read all figures from the device at once, because that waits for it; the mean over the ranks."""
    tensors = {"loss": loss}
    for name, output in outputs.items():
        named = {f"loss/{name}": output.loss}
        named |= {f"{name}/{metric}": value for metric, value in output.metrics.items()}
        tensors |= {key: share[name] * value.detach() for key, value in named.items()}
    values = torch.stack([tensor.detach().to(loss).reshape(()) for tensor in tensors.values()])
    return dict(zip(tensors, mean_over_ranks(values).tolist(), strict=True))


def chance_losses(heads: nn.ModuleDict) -> dict[str, float]:
    """The losses of a constant answer, by head, for the heads whose attribute ``chance_loss`` names one."""
    named = {name: getattr(head, "chance_loss", None) for name, head in heads.items()}
    return {name: float(value) for name, value in named.items() if value is not None}
