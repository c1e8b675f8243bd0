"""One optimizer step, in its stated order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mmtk.engine.learner import Learner
from mmtk.errors import StageError
from mmtk.kinds import Schedule
from mmtk.types import Batch, HeadOutput, StepState, stable_hash


class Trainer:
    """Trains a learner step by step, in float32.

    A step's order: ``before_step`` of the model, the heads and the momentum encoder, where they have it; the
    forward context; the heads; the sum of their losses; backward; clipping; the optimizer; and ``after_step``
    of the momentum encoder. Everything random in it depends on the seed and the step alone.

    Args:
        learner: already on its device.
        momentum: a ``mmtk.kinds.Momentum`` built on the learner's model, or None.
        optimizer: its groups' rates are the peaks that ``schedule`` scales.
        schedule: learning rate over time.
        seed: the run's seed.
        steps_per_epoch: optimizer steps in one pass over the data.
        total_steps: optimizer steps of the whole run.
        clip_norm: greatest norm of the whole gradient; None leaves it.
    """

    def __init__(
        self,
        learner: Learner,
        momentum: Any,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        *,
        seed: int,
        steps_per_epoch: int,
        total_steps: int,
        clip_norm: float | None = None,
    ) -> None:
        self.learner = learner
        self.momentum = momentum
        self.optimizer = optimizer
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = total_steps
        self._schedule = schedule
        self._seed = seed
        self._clip_norm = clip_norm
        self._peaks = [group["lr"] for group in optimizer.param_groups]
        self._trained = [(name, p) for name, p in learner.named_parameters() if p.requires_grad]

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one optimizer step on ``batch``, after ``step`` of them, and return its figures.

        The figures: ``loss``, ``loss/HEAD``, ``HEAD/METRIC``, ``lr`` and ``gradient_norm`` (before clipping).

        Raises:
            StageError: a loss or a gradient is not finite; the optimizer does not step.
        """
        state = StepState(step, step / self.steps_per_epoch, self.total_steps, self._seed)
        torch.manual_seed(stable_hash(self._seed, step))
        for part in self._parts():
            if hasattr(part, "before_step"):
                part.before_step(state)
        factor = self._schedule(step, self.steps_per_epoch, self.total_steps)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

        context = self.learner.model.context(batch, state, self.momentum)
        outputs: dict[str, HeadOutput] = {name: head(context) for name, head in self.learner.heads.items()}
        loss = torch.stack([output.loss for output in outputs.values()]).sum()
        figures = _figures(loss, outputs)
        self._refuse_non_finite_losses(figures, batch, step)

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        figures["gradient_norm"] = self._clip(batch, step)
        self.optimizer.step()
        if self.momentum is not None:
            self.momentum.after_step([context])
        return figures | {"lr": self.optimizer.param_groups[0]["lr"]}

    def _parts(self) -> Iterator[object]:
        yield self.learner.model
        yield from self.learner.heads.values()
        if self.momentum is not None:
            yield self.momentum

    def _refuse_non_finite_losses(self, figures: Mapping[str, float], batch: Batch, step: int) -> None:
        wrong = [name for name in self.learner.heads if not _is_finite(figures[f"loss/{name}"])]
        if wrong:
            losses = ", ".join(f"head '{name}' gave {figures[f'loss/{name}']}" for name in wrong)
            raise StageError(
                f"step {step + 1}: the loss is not finite: {losses}. {_HINT} {_batch_keys(batch)}"
            )

    def _clip(self, batch: Batch, step: int) -> float:
        """Clip the gradient and return the norm it had."""
        gradients = [p.grad for _, p in self._trained if p.grad is not None]
        total = get_total_norm(gradients)
        norm = float(total)
        if not _is_finite(norm):
            bad = [name for name, p in self._trained if p.grad is not None and not p.grad.isfinite().all()]
            few = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
            raise StageError(
                f"step {step + 1}: the gradient is not finite in {len(bad)} tensors ({few}). {_HINT} "
                f"{_batch_keys(batch)}"
            )
        if self._clip_norm is not None:
            clip_grads_with_norm_([p for _, p in self._trained], self._clip_norm, total)
        return norm


_HINT = "The step was not taken. A lower learning rate, a longer warm-up or clip_norm may help."


def _batch_keys(batch: Batch) -> str:
    more = f", … ({len(batch)} in all)" if len(batch) > 8 else ""
    return f"The batch: {', '.join(batch.keys[:8])}{more}"


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")


def _figures(loss: Tensor, outputs: Mapping[str, HeadOutput]) -> dict[str, float]:
    """Read all figures from the device at once, because each reading waits for it."""
    tensors = {"loss": loss}
    tensors |= {f"loss/{name}": output.loss for name, output in outputs.items()}
    for name, output in outputs.items():
        tensors |= {f"{name}/{metric}": value for metric, value in output.metrics.items()}
    values = torch.stack([tensor.detach().to(loss).reshape(()) for tensor in tensors.values()]).tolist()
    return dict(zip(tensors, values, strict=True))


def chance_losses(heads: nn.ModuleDict) -> dict[str, float]:
    """The losses of a constant answer, by head, for the heads whose attribute ``chance_loss`` names one."""
    named = {name: getattr(head, "chance_loss", None) for name, head in heads.items()}
    return {name: float(value) for name, value in named.items() if value is not None}
