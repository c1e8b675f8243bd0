"""Whether a folder may be a run's: an empty one, or one that a run has made."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mmtk.errors import StageError
from mmtk.recipe.run_folder import ENVIRONMENT, RESOLVED
from mmtk.stages.lock import LOCK_FILE
from mmtk.stages.record import RECORD_FILE

# What a run that was killed at its start leaves behind, and what a shell, git or a file system puts there.
LEFT_OVER = re.compile(
    rf"{re.escape(LOCK_FILE)}|{re.escape(ENVIRONMENT)}|\..+\.\d+\.tmp|\.superseded|.+\.(log|out|err)"
    r"|\.gitkeep|\.gitignore|\.DS_Store|lost\+found"
)
MOST_SHOWN = 3


def what_is_foreign(run_dir: Path) -> str | None:
    """Say that a folder holds files of something else than a run; None where a run may write to it."""
    try:
        entries = sorted(run_dir.iterdir())
    except OSError:  # there is none, or the run says that it can't be used
        return None
    # Path.is_file raises where a folder may not be entered.
    if any(entry.name == RESOLVED or os.path.isfile(entry / RECORD_FILE) for entry in entries):  # noqa: PTH113
        return None
    foreign = [entry.name for entry in entries if not LEFT_OVER.fullmatch(entry.name)]
    if not foreign:
        return None
    more = f" and {len(foreign) - MOST_SHOWN} more" if len(foreign) > MOST_SHOWN else ""
    return (
        f"{run_dir} is no run's folder: it has no {RESOLVED}, but {', '.join(foreign[:MOST_SHOWN])}{more}; "
        "give the run an empty or a new folder with run_dir=FOLDER"
    )


def refuse_foreign(run_dir: Path) -> None:
    """Raises StageError where a folder holds files of something else than a run."""
    if fault := what_is_foreign(run_dir):
        raise StageError(fault)
