"""What to do with a stage, given what its folder says of an earlier try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mmtk.stages.context import Output
from mmtk.stages.record import StageRecord, Status, differences, read_record


class Action(Enum):
    SKIP = "skip"
    RUN = "run"
    SUPERSEDE = "supersede"


@dataclass(frozen=True)
class Decision:
    """What to do, and the lines that tell the user why.

    ``SUPERSEDE`` moves the folder aside and then runs the stage; ``RUN`` keeps what the folder holds.
    """

    action: Action
    reasons: tuple[str, ...] = ()


def decide(folder: Path, wanted: StageRecord, outputs: Mapping[str, Output]) -> Decision:
    """Compare the folder's record with the one that a run would write now."""
    if not folder.exists() or not any(folder.iterdir()):
        return Decision(Action.RUN)
    found = read_record(folder)
    if found is None:
        return Decision(Action.SUPERSEDE, ("its folder holds no readable stage.json",))
    if found.fingerprint != wanted.fingerprint:
        return Decision(Action.SUPERSEDE, tuple(differences(found, wanted)))
    if found.status is not Status.DONE:
        word = "was killed" if found.status is Status.RUNNING else str(found.status)
        return Decision(Action.RUN, (f"goes on from an earlier try ({word})",))
    lost = missing_outputs(folder, outputs)
    if lost:
        return Decision(Action.RUN, (f"was done, but lost {', '.join(lost)}: runs again",))
    return Decision(Action.SKIP, (f"already done ({found.finished or found.started})",))


def missing_outputs(folder: Path, outputs: Mapping[str, Output]) -> list[str]:
    """Name the declared outputs that don't exist."""
    return [
        f"'{name}' ({output.path})" for name, output in outputs.items() if not (folder / output.path).exists()
    ]


def move_aside(folder: Path, run_dir: Path) -> Path:
    """Move a superseded stage's folder to ``run_dir/.superseded`` and return where it lies now."""
    found = read_record(folder)
    name = f"{folder.name}-{found.fingerprint[:8] if found else 'unknown'}"
    target = run_dir / ".superseded" / name
    number = 2
    while target.exists():
        target = target.with_name(f"{name}-{number}")
        number += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    return folder.rename(target)
