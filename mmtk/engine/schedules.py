"""Learning rates over time, as factors on the optimizer's peak rate."""

from __future__ import annotations

import math
from dataclasses import dataclass


def _warm_up(step: int, steps: int, start: float) -> float:
    """Linear from ``start`` at step 0 to 1 at step ``steps``; 1 from there on."""
    return start + (1 - start) * step / steps if step < steps else 1.0


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear warm-up, then half a cosine by step that would reach ``floor`` one step after the last."""

    warmup_steps: int = 0
    start: float = 0.0
    floor: float = 0.0

    def __call__(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        del steps_per_epoch
        if step < self.warmup_steps:
            return _warm_up(step, self.warmup_steps, self.start)
        span = max(total_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / span, 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class BlipStep:
    """BLIP's pre-training schedule: linear warm-up, and ``max(floor, decay ** epoch)`` from epoch to epoch.

    The public code warms up inside epoch 0 only, so that with fewer steps per epoch than ``warmup_steps`` its
    rate jumps when epoch 1 starts. Here the warm-up goes on and the smaller of the two factors holds: the
    same where the warm-up fits into epoch 0, and without a jump upwards where it doesn't.
    """

    warmup_steps: int = 3000
    start: float = 1e-6 / 3e-4
    decay: float = 0.9
    floor: float = 1e-6 / 3e-4

    def __call__(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        del total_steps
        decayed = max(self.floor, self.decay ** (step // steps_per_epoch))
        return min(_warm_up(step, self.warmup_steps, self.start), decayed)


@dataclass(frozen=True, kw_only=True)
class CosineEpochs:
    """BLIP's fine-tuning schedule: half a cosine that moves at the start of each epoch (BLIP, appendix).

    With a warm-up it is ALBEF's pre-training schedule. The public code moves the warm-up's rate every 100
    steps and ends it with epoch 0; here it moves each step, and goes on as ``BlipStep``'s does.
    """

    floor: float = 0.0
    warmup_steps: int = 0
    start: float = 0.0

    def __call__(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        epochs = max(math.ceil(total_steps / steps_per_epoch), 1)
        progress = (step // steps_per_epoch) / epochs
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
        return min(_warm_up(step, self.warmup_steps, self.start), cosine)


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The peak rate, after an optional linear warm-up."""

    warmup_steps: int = 0
    start: float = 0.0

    def __call__(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        del steps_per_epoch, total_steps
        return _warm_up(step, self.warmup_steps, self.start)
