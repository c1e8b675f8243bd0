"""Finding the checkpoints that a folder holds: a run's, of the stages it has finished, or itself."""

from __future__ import annotations

import difflib
from pathlib import Path

from mmtk.engine.checkpoint import DESCRIPTION
from mmtk.errors import CheckpointError
from mmtk.stages.record import Status, read_record

CHECKPOINT = "checkpoint"
_OTHERS = "mmtk import turns a model of another program into a checkpoint"


def checkpoints_in(source: Path, stage: str | None = None) -> dict[str, Path]:
    """Return a run's checkpoints by their stages' names, the one finished last behind.

    Args:
        source: a run's folder or a checkpoint's, which is returned under an empty name.
        stage: whose checkpoint alone is wanted.

    Raises:
        CheckpointError: there is no such folder, no checkpoint in it, or none of ``stage``.
    """
    if not source.is_dir():
        raise CheckpointError(_no_folder(source))
    if (source / DESCRIPTION).is_file():
        if stage is not None:
            raise CheckpointError(f"{source}: a checkpoint, and no run with a stage '{stage}'")
        return {"": source}
    finished = {
        folder.name: record.finished
        for folder in source.iterdir()
        if (folder / CHECKPOINT / DESCRIPTION).is_file() and (record := read_record(folder))
        if record.status is Status.DONE
    }
    if not finished:
        if (source / CHECKPOINT / DESCRIPTION).is_file():
            raise CheckpointError(
                f"{source}: a stage's folder; expected its run's, {source.absolute().parent}, or its "
                f"checkpoint's, {source / CHECKPOINT}"
            )
        raise CheckpointError(
            f"{source}: no checkpoint here, and no stage of a run that finished one; {_OTHERS}"
        )
    names = sorted(finished, key=lambda name: finished[name])
    if stage is not None and stage not in finished:
        raise CheckpointError(
            f"{source}: no finished checkpoint of a stage '{stage}'; there are: {', '.join(names)}"
        )
    return {name: source / name / CHECKPOINT for name in names if stage in (None, name)}


def _no_folder(source: Path) -> str:
    if source.exists():
        return f"{source}: a file; expected a run's folder or a checkpoint's; {_OTHERS}"
    beside = [one.name for one in source.parent.iterdir()] if source.parent.is_dir() else []
    near = difflib.get_close_matches(source.name, beside, n=1)
    hint = f"; did you mean '{source.with_name(near[0])}'?" if near else ""
    return f"{source}: there is no such folder; expected a run's folder or a checkpoint's{hint}"
