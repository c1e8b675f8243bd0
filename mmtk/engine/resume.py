"""The training state on disk, from which a killed stage goes on."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mmtk.engine.folders import whole_folder
from mmtk.engine.weights import load_weights, save_weights
from mmtk.errors import CheckpointError
from mmtk.types import Quarantined

_WEIGHTS = "weights.safetensors"
_STATE = "state.pt"
_PREFIX = "step-"


class ResumePoint(NamedTuple):
    """Where an earlier try stood: optimizer steps done, and the samples it had quarantined."""

    step: int
    quarantined: tuple[Quarantined, ...]


class ResumeFolder:
    """Keeps the newest training state in a folder, one subfolder per saved step.

    A state holds the parameters and buffers of ``modules`` (the learner and, if there is one, the momentum
    encoder), the optimizer's state and the step. No random state is among it: every step seeds its own.

    Args:
        folder: made when the first state is saved.
        modules: by name; saved from and loaded into.
        optimizer: likewise.
    """

    def __init__(
        self, folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
    ) -> None:
        self._folder = folder
        self._modules = nn.ModuleDict(dict(modules))
        self._optimizer = optimizer

    def save(self, step: int, quarantined: Iterable[Quarantined]) -> None:
        """Write the state after ``step`` steps, then remove the older ones."""
        state = {
            "step": step,
            "optimizer": self._optimizer.state_dict(),
            "quarantined": [(entry.key, entry.reason, entry.location) for entry in quarantined],
        }
        newest = self._folder / f"{_PREFIX}{step:010d}"
        with whole_folder(newest) as partial:
            save_weights(self._modules, partial / _WEIGHTS)
            torch.save(state, partial / _STATE)
        for older in self._states():
            if older != newest:
                shutil.rmtree(older)

    def load(self) -> ResumePoint | None:
        """Load the newest state into the modules and the optimizer; None when there is none.

        Raises:
            CheckpointError: it is damaged or of another model.
        """
        states = self._states()
        if not states:
            return None
        newest = states[-1]
        try:
            load_weights(self._modules, newest / _WEIGHTS)
            state = _read_state(newest / _STATE)
            self._optimizer.load_state_dict(state["optimizer"])
            return ResumePoint(state["step"], tuple(Quarantined(*entry) for entry in state["quarantined"]))
        except (CheckpointError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"the training state in {newest} can't be used; delete {self._folder} to train this stage "
                f"from its start. {error}"
            ) from error

    def clear(self) -> None:
        """Remove all states."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _states(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_PREFIX}*"))


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: missing or damaged ({type(error).__name__})") from error
    return state
