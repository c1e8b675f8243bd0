"""What a stage's folder says about itself: ``stage.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

RECORD_FILE = "stage.json"
LONGEST_VALUE = 60
_ABSENT = object()


class Status(StrEnum):
    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class StageRecord:
    """One try at a stage.

    Attributes:
        status: ``running`` also stands in the folder of a process that was killed.
        fingerprint: of the four mappings below it, as ``mmtk.recipe.fingerprint`` takes it.
        node: the resolved recipe node as plain JSON.
        seed: the run's seed.
        inputs: fingerprint of each stage that this one reads, by the stage's name.
        files: identity of each file or folder that the node names by path.
        plugins: distribution and version behind each plugin that the node uses.
        started: ISO time of the try.
        finished: ISO time of its end; empty while it runs.
    """

    status: Status
    fingerprint: str
    node: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    finished: str = ""


def write_json(path: Path, data: Any) -> None:
    """Write ``path`` so that a crash leaves either the old file or the new one."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write ``path`` so that a crash leaves either the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_record(folder: Path, record: StageRecord) -> None:
    write_json(folder / RECORD_FILE, asdict(record))


def read_record(folder: Path) -> StageRecord | None:
    """Return the folder's record; None where there is none, or none that can be read."""
    try:
        data = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        known = {key.name for key in fields(StageRecord)}
        record = StageRecord(**{key: value for key, value in data.items() if key in known})
        return StageRecord(**{**asdict(record), "status": Status(record.status)})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def differences(old: StageRecord, new: StageRecord) -> list[str]:
    """Say what changed between two tries: keys with old and new value, input stages, files, plugins."""
    lines = [f"{key}: {_shorten(a)} -> {_shorten(b)}" for key, a, b in _changed_keys(old.node, new.node)]
    if old.seed != new.seed:
        lines.append(f"seed: {old.seed} -> {new.seed}")
    both = old.inputs.keys() & new.inputs.keys()
    lines += [
        f"input stage '{stage}' changed" for stage in sorted(both) if old.inputs[stage] != new.inputs[stage]
    ]
    both = old.files.keys() & new.files.keys()
    lines += [f"the content of {path} changed" for path in sorted(both) if old.files[path] != new.files[path]]
    lines += [
        f"plugin {name}: {_shorten(a)} -> {_shorten(b)}"
        for name, a, b in _changed_keys(old.plugins, new.plugins)
    ]
    return lines or ["it was written by another version of mmtk"]


def _changed_keys(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old and new:
        for key in [*old, *(key for key in new if key not in old)]:
            inner = f"{place}.{key}" if place else str(key)
            yield from _changed_keys(old.get(key, _ABSENT), new.get(key, _ABSENT), inner)
        return
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changed_keys(before, after, f"{place}.{index}")
        return
    if old != new or type(old) is not type(new):
        yield place, old, new


def _shorten(value: Any) -> str:
    text = "(absent)" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
