"""Finding the checkpoint that can do what is asked, and loading it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmtk.engine.checkpoint import load_learner
from mmtk.engine.learner import Learner
from mmtk.engine.runs import checkpoints_in
from mmtk.errors import CheckpointError, RecipeError
from mmtk.inference.batching import BatchSize
from mmtk.inference.model import InferenceModel
from mmtk.inference.preparation import preparation_of
from mmtk.kinds import CaptioningHead, MatchingHead
from mmtk.plugins import load_plugins
from mmtk.registry import nearest
from mmtk.stages.environment import resolve_device

if TYPE_CHECKING:
    from mmtk.registry import Registry

Task = Literal["caption", "match", "embed"]
_HEADS: dict[Task, tuple[type, str]] = {
    "caption": (CaptioningHead, "a head that writes captions"),
    "match": (MatchingHead, "a matching head"),
    # Every model has features, but those of a captioner alone were not trained to be compared.
    "embed": (MatchingHead, ""),
}


def load(
    source: str | Path,
    *,
    task: Task | None = None,
    stage: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    image_size: int | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> InferenceModel:
    """Load a model for use.

    Args:
        source: a run's folder or a checkpoint's.
        task: what it is for. Of a run the last finished checkpoint with the head that this needs is taken;
            ``embed`` prefers one with a matching head, which is trained along with the features.
        stage: whose checkpoint of the run; None leaves it to ``task``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: pictures or texts per batch; None finds it. It is halved where memory runs out.
        image_size: edge of the pictures in pixels; None takes that of the model's training.
        say: is told which checkpoint of a run was taken.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or none has the head that ``task`` needs.
        StageError: there is no such device.
        RecipeError: there is no such task.
    """
    if task is not None and task not in _HEADS:
        raise RecipeError(_unknown(task))
    registry = load_plugins().registry
    device = resolve_device(device)
    name, checkpoint, learner = _fitting(Path(source), task, stage, registry)
    if name:
        say(f"{source}: the checkpoint of stage '{name}'")
    preparation = preparation_of(checkpoint, registry, learner.model, image_size)
    return InferenceModel(
        learner.to(device), preparation, checkpoint, device=device, size=BatchSize(batch_size, device)
    )


def _unknown(task: str) -> str:
    near = nearest(task, _HEADS)
    hint = f"; did you mean '{near}'?" if near else ""
    return f"task='{task}': expected one of {', '.join(repr(name) for name in _HEADS)}, or None{hint}"


def _fitting(
    source: Path, task: Task | None, stage: str | None, registry: Registry
) -> tuple[str, Path, Learner]:
    """The last checkpoint with the head that is wanted: its stage, its folder, its learner."""
    protocol, needed = (object, "") if task is None else _HEADS[task]
    checkpoints = list(reversed(checkpoints_in(source, stage).items()))
    seen = []
    for name, checkpoint in checkpoints:
        learner = load_learner(checkpoint, registry)
        if task is None or any(isinstance(head, protocol) for head in learner.heads.values()):
            return name, checkpoint, learner
        heads = f"heads {', '.join(learner.heads)}" if len(learner.heads) else "no heads"
        seen.append(f"stage '{name}' has {heads}" if name else f"it has {heads}")
    if needed:
        raise CheckpointError(
            f"{source}: this needs {needed}, and there is none: {'; '.join(reversed(seen))}"
        )
    name, checkpoint = checkpoints[0]
    return name, checkpoint, load_learner(checkpoint, registry)
