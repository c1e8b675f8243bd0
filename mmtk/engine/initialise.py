"""Start a learner from weights made elsewhere: every tensor that fits by name and shape is taken over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmtk.engine.checkpoint_files import WEIGHTS
from mmtk.engine.learner import Learner
from mmtk.engine.weights import read_weights
from mmtk.errors import CheckpointError
from mmtk.types import ForeignWeights


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
            (self.fresh, "missing, which keep their random values"),
            (self.misshapen, "of another shape"),
        ):
            if names:
                few = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
                parts.append(f"{len(names)} {word} ({few})")
        return ", ".join(parts)


class CheckpointWeights:
    """A checkpoint of mmtk as a source of first weights (``mmtk.kinds.WeightSource``)."""

    def __init__(self, *, path: Path) -> None:
        self._path = path

    def __call__(self, learner: Learner) -> ForeignWeights:  # noqa: ARG002
        """Raises CheckpointError when the checkpoint is missing or damaged."""
        return ForeignWeights(read_weights(self._path / WEIGHTS))


def take_over(learner: Learner, found: ForeignWeights, source: str) -> Takeover:
    """Copy what fits of ``found`` into ``learner`` and say what happened.

    A module inside the learner may have a method ``adapt_weights``: it is given its own tensors by its own
    names, and returns those that it wants otherwise, such as position embeddings for another picture size.

    Raises:
        CheckpointError: nothing fits; ``source`` names where the weights came from.
    """
    wanted = learner.state_dict()
    tensors = _adapted(learner, found.tensors)
    loaded, misshapen = [], []
    with torch.no_grad():
        for name, tensor in wanted.items():
            given = tensors.get(name)
            if given is None:
                continue
            if given.shape == tensor.shape:
                tensor.copy_(given)
                loaded.append(name)
            else:
                misshapen.append(f"{name} {tuple(given.shape)} for {tuple(tensor.shape)}")
    if not loaded:
        raise CheckpointError(
            f"{source}: nothing in this checkpoint fits the model; it has "
            f"{_few([*found.tensors, *found.left_over])}, and the model has {_few(list(wanted))}"
        )
    return Takeover(
        loaded=tuple(loaded),
        left_over=(*(name for name in found.tensors if name not in wanted), *found.left_over),
        fresh=tuple(name for name in wanted if name not in tensors),
        misshapen=tuple(misshapen),
    )


def _adapted(learner: Learner, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    adapted = dict(tensors)
    for name, module in learner.named_modules():
        adapt = getattr(module, "adapt_weights", None)
        if adapt is not None:
            prefix = f"{name}."
            own = {key.removeprefix(prefix): one for key, one in tensors.items() if key.startswith(prefix)}
            adapted |= {prefix + key: tensor for key, tensor in adapt(own).items()}
    return adapted


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:3])}, …" if names else "nothing"
