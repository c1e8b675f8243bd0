"""What a checkpoint's folder holds, told without torch."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = "weights.safetensors"
DESCRIPTION = "learner.json"
_DEPTHS = ("*", "*/*")  # a run's folder has its checkpoints in those of its stages


def checkpoint_fault(folder: Path) -> str | None:
    """Say why what lies at ``folder`` is no checkpoint, with the checkpoint that was meant where one is near.

    None where it is one, as far as can be told without reading the weights.
    """
    if (folder / WEIGHTS).is_file():
        return None
    if folder.is_file():
        return f"{folder}: no checkpoint but a file; 'mmtk import' makes one of another program's weights"
    if not folder.exists():
        return f"{folder}: there is no such checkpoint folder"
    inside = sorted(path.parent for depth in _DEPTHS for path in folder.glob(f"{depth}/{WEIGHTS}"))
    hint = f"; did you mean {' or '.join(map(str, inside[:3]))}?" if inside else ""
    return f"{folder}: no checkpoint, {WEIGHTS} is missing{hint}"
