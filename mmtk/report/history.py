"""How long the run's stages took, from the records beside the report's own folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mmtk.stages.record import RECORD_FILE, Status, read_record


@dataclass(frozen=True)
class StageTime:
    """A finished stage of the run and the seconds its last try took; None when its record doesn't say."""

    name: str
    seconds: float | None


def stage_times(run_folder: Path, without: str) -> list[StageTime]:
    """Return the finished stages of a run in the order they started, without the one named ``without``."""
    found = []
    for path in run_folder.glob(f"*/{RECORD_FILE}"):
        record = read_record(path.parent)
        if record is None or record.status is not Status.DONE or path.parent.name == without:
            continue
        found.append((record.started, path.parent.name, _seconds(record.started, record.finished)))
    return [StageTime(name, seconds) for _, name, seconds in sorted(found, key=lambda entry: entry[:2])]


def _seconds(started: str, finished: str) -> float | None:
    try:
        return max(0.0, (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds())
    except (TypeError, ValueError):  # TypeError: one has a time zone, the other has none
        return None
