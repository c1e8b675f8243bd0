"""A warning when a head's loss stays where a constant answer would put it."""

from __future__ import annotations

from collections.abc import Mapping

_TOLERANCE = 0.01
_DECAY = 0.98  # of the moving average: about the last fifty steps
_LEAST_STEPS = 500


class PriorWatch:
    """Watches the losses of the heads that name a ``chance_loss``.

    Image-text matching with two negatives per positive is the usual case: always answering with the classes'
    shares costs -(1/3 ln 1/3 + 2/3 ln 2/3) = 0.6365, and users of BLIP report runs that never leave it.

    Args:
        chance_losses: by head, the loss of a constant answer.
        steps_per_epoch: the warning comes after an epoch at that loss, or 500 steps if that is longer.
    """

    def __init__(self, chance_losses: Mapping[str, float], steps_per_epoch: int) -> None:
        self._chance_losses = dict(chance_losses)
        self._patience = max(_LEAST_STEPS, steps_per_epoch)
        self._means: dict[str, float] = {}
        self._stuck = dict.fromkeys(chance_losses, 0)

    def observe(self, losses: Mapping[str, float]) -> list[str]:
        """Take one step's losses by head; return the warnings that are due, each at most once in a run."""
        warnings = []
        for head, chance in self._chance_losses.items():
            if head not in losses:
                continue
            mean = self._means.get(head, losses[head])
            self._means[head] = _DECAY * mean + (1 - _DECAY) * losses[head]
            near = abs(self._means[head] - chance) <= _TOLERANCE
            self._stuck[head] = self._stuck[head] + 1 if near else 0
            if self._stuck[head] == self._patience:
                warnings.append(self._warning(head, chance))
        for head in [head for head, steps in self._stuck.items() if steps >= self._patience]:
            del self._chance_losses[head], self._stuck[head]
        return warnings

    def _warning(self, head: str, chance: float) -> str:
        return (
            f"warning: for {self._patience} steps loss/{head} has stayed at {self._means[head]:.3f}, and a "
            f"constant answer gives {chance:.4f}: head '{head}' tells nothing apart. Look at whether images "
            "and texts really belong together (data.sources), at the learning rate and its warm-up, and at "
            "whether the other heads' losses fall."
        )
