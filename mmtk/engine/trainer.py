"""One optimizer step, in its stated order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mmtk.engine.learner import Learner
from mmtk.errors import StageError
from mmtk.kinds import Schedule
from mmtk.printable import printable
from mmtk.types import Batch, HeadOutput, StepState, stable_hash


class Trainer:
    """Trains a learner step by step, in float32.

    A step's order: ``before_step`` of the model, the heads and the momentum encoder, where they have it; the
    forward context; the heads; the sum of their losses; backward; clipping; the optimizer; and ``after_step``
    of the momentum encoder. From the context to backward, that is done for each batch of the step. Everything
    random in it depends on the seed and the step alone.

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

    def step(self, batches: Sequence[Batch], step: int) -> dict[str, float]:
        """Do one optimizer step on ``batches``, after ``step`` of them, and return its figures.

        Batches are worked through one after the other. Each head's loss is the mean over the terms of all
        batches together, as of one batch that holds them all.

        The figures: ``loss``, ``loss/HEAD``, ``HEAD/METRIC``, ``lr`` and ``gradient_norm`` (before clipping).

        Raises:
            StageError: a loss or a gradient is not finite; the optimizer does not step.
        """
        state = StepState(step, step / self.steps_per_epoch, self.total_steps, self._seed)
        self._begin(state)
        contexts = [
            self.learner.model.context(batch, replace(state, part=part), self.momentum)
            for part, batch in enumerate(batches)
        ]
        shares = self._shares(contexts)
        figures: dict[str, float] = defaultdict(float)
        for part, context in enumerate(contexts):
            share = {name: parts[part] for name, parts in shares.items()}
            for name, value in self._accumulate(context, share, step).items():
                figures[name] += value
        figures["gradient_norm"] = self._clip([key for batch in batches for key in batch.keys], step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # now, so that the next forward pass has the memory
        if self.momentum is not None:
            self.momentum.after_step(contexts)
        return figures | {"lr": self.optimizer.param_groups[0]["lr"]}

    def _begin(self, state: StepState) -> None:
        """Seed the step, call ``before_step`` and set the rate."""
        torch.manual_seed(stable_hash(self._seed, state.step))
        for part in self._parts():
            if hasattr(part, "before_step"):
                part.before_step(state)
        factor = self._schedule(state.step, self.steps_per_epoch, self.total_steps)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def _shares(self, contexts: Sequence[Any]) -> dict[str, list[float]]:
        """What part of each head's terms each context holds."""
        shares = {}
        for name, head in self.learner.heads.items():
            count = getattr(head, "terms", None) or (lambda context: len(context.batch))
            terms = [count(context) for context in contexts] if len(contexts) > 1 else [1]
            shares[name] = [part / max(sum(terms), 1) for part in terms]
        return shares

    def _accumulate(self, context: Any, share: Mapping[str, float], step: int) -> dict[str, float]:
        """Add a batch's gradients and return its part in the figures."""
        outputs: dict[str, HeadOutput] = {name: head(context) for name, head in self.learner.heads.items()}
        loss = torch.stack([share[name] * output.loss for name, output in outputs.items()]).sum()
        figures = _figures(loss, outputs, share)
        self._refuse_non_finite_losses(figures, context.batch.keys, step)
        loss.backward()
        if hasattr(context, "release"):
            context.release()
        return figures

    def _parts(self) -> Iterator[object]:
        yield self.learner.model
        yield from self.learner.heads.values()
        if self.momentum is not None:
            yield self.momentum

    def _refuse_non_finite_losses(self, figures: Mapping[str, float], keys: Sequence[str], step: int) -> None:
        wrong = [name for name in self.learner.heads if not _is_finite(figures[f"loss/{name}"])]
        if wrong:
            losses = ", ".join(f"head '{name}' gave {figures[f'loss/{name}']}" for name in wrong)
            raise StageError(f"step {step + 1}: the loss is not finite: {losses}. {_HINT} {_named(keys)}")

    def _clip(self, keys: Sequence[str], step: int) -> float:
        """Clip the gradient and return the norm it had."""
        gradients = [p.grad for _, p in self._trained if p.grad is not None]
        total = get_total_norm(gradients)
        norm = float(total)
        if not _is_finite(norm):
            bad = [name for name, p in self._trained if p.grad is not None and not p.grad.isfinite().all()]
            few = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
            raise StageError(
                f"step {step + 1}: the gradient is not finite in {len(bad)} tensors ({few}). {_HINT} "
                f"{_named(keys)}"
            )
        if self._clip_norm is not None:
            clip_grads_with_norm_([p for _, p in self._trained], self._clip_norm, total)
        return norm


_HINT = "The step was not taken. A lower learning rate, a longer warm-up or clip_norm may help."


def _named(keys: Sequence[str]) -> str:
    more = f", … ({len(keys)} in all)" if len(keys) > 8 else ""
    return f"The batch: {', '.join(map(printable, keys[:8]))}{more}"


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")


def _figures(loss: Tensor, outputs: Mapping[str, HeadOutput], share: Mapping[str, float]) -> dict[str, float]:
    """Read all figures from the device at once, because each reading waits for it."""
    tensors = {"loss": loss}
    for name, output in outputs.items():
        named = {f"loss/{name}": output.loss}
        named |= {f"{name}/{metric}": value for metric, value in output.metrics.items()}
        tensors |= {key: share[name] * value.detach() for key, value in named.items()}
    values = torch.stack([tensor.detach().to(loss).reshape(()) for tensor in tensors.values()]).tolist()
    return dict(zip(tensors, values, strict=True))


def chance_losses(heads: nn.ModuleDict) -> dict[str, float]:
    """The losses of a constant answer, by head, for the heads whose attribute ``chance_loss`` names one."""
    named = {name: getattr(head, "chance_loss", None) for name, head in heads.items()}
    return {name: float(value) for name, value in named.items() if value is not None}
