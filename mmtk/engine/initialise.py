"""Start a learner from another one's checkpoint: every tensor that fits by name and shape is taken over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mmtk.engine.checkpoint import WEIGHTS
from mmtk.engine.learner import Learner
from mmtk.engine.weights import read_weights
from mmtk.errors import CheckpointError


@dataclass(frozen=True)
class Takeover:
    """Which tensors an initialisation moved, by name.

    Attributes:
        loaded: taken over from the checkpoint.
        left_over: in the checkpoint, without a place in the learner.
        fresh: in the learner, not in the checkpoint; they keep their random values.
        misshapen: in both, but of another shape, which is given; they keep their random values too.
    """

    loaded: tuple[str, ...]
    left_over: tuple[str, ...]
    fresh: tuple[str, ...]
    misshapen: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for names, word in (
            (self.left_over, "left over"),
            (self.fresh, "new"),
            (self.misshapen, "of another shape"),
        ):
            if names:
                few = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
                parts.append(f"{len(names)} {word} ({few})")
        return ", ".join(parts)


def initialise(learner: Learner, folder: Path) -> Takeover:
    """Copy what fits from the checkpoint in ``folder`` into ``learner`` and say what happened.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or nothing in it fits.
    """
    found = read_weights(folder / WEIGHTS)
    wanted = learner.state_dict()
    loaded, misshapen = [], []
    with torch.no_grad():
        for name, tensor in wanted.items():
            if name not in found:
                continue
            if found[name].shape == tensor.shape:
                tensor.copy_(found[name])
                loaded.append(name)
            else:
                misshapen.append(f"{name} {tuple(found[name].shape)} for {tuple(tensor.shape)}")
    if not loaded:
        raise CheckpointError(
            f"{folder}: nothing in this checkpoint fits the model; it has {', '.join(list(found)[:3])}, …, "
            f"and the model has {', '.join(list(wanted)[:3])}, …"
        )
    return Takeover(
        loaded=tuple(loaded),
        left_over=tuple(name for name in found if name not in wanted),
        fresh=tuple(name for name in wanted if name not in found),
        misshapen=tuple(misshapen),
    )
