"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, arXiv 1710.03740, §3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmtk.distributed.collectives import local_part

_GROWTH_STEPS = 2000
_LEAST, _GREATEST = 1.0, 2.0**24


class LossScale:
    """A factor on the loss that keeps small gradients above float16's smallest number.

    torch's own ``GradScaler`` looks for overflow in the gradients that one rank holds, which are not all
    where they are sharded. Here the gradient's norm tells, which the engine takes over all ranks.

    Args:
        enabled: without it the factor is 1 and stays so.
        value: the first factor.
    """

    def __init__(self, enabled: bool, value: float = 2.0**16) -> None:
        self.enabled = enabled
        self.value = value if enabled else 1.0
        self.overflows = 0
        self._steps_since_change = 0

    @property
    def at_floor(self) -> bool:
        """Whether an overflow can't be the factor's fault."""
        return not self.enabled or self.value <= _LEAST

    def unscale(self, gradients: Sequence[Tensor]) -> None:
        """Divide gradients by the factor, in place."""
        if self.enabled and gradients:
            torch._foreach_mul_([local_part(gradient) for gradient in gradients], 1 / self.value)

    def update(self, overflow: bool) -> None:
        """Halve the factor after a gradient that overflowed; double it after 2,000 that didn't."""
        if not self.enabled:
            return
        self._steps_since_change += 1
        if overflow:
            self.overflows += 1
            self.value = max(self.value / 2, _LEAST)
            self._steps_since_change = 0
        elif self._steps_since_change == _GROWTH_STEPS:
            self.value = min(self.value * 2, _GREATEST)
            self._steps_since_change = 0

    def state(self) -> list[float]:
        return [self.value, self.overflows, self._steps_since_change]

    def load(self, state: Sequence[float]) -> None:
        value, self.overflows, self._steps_since_change = state[0], int(state[1]), int(state[2])
        self.value = value if self.enabled else 1.0
