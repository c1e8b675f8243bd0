"""The record of samples that could not be used."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from mmtk.types import Quarantined


class Quarantine:
    """Samples that could not be used, each once however often it was met. Safe to share between threads."""

    def __init__(self, entries: Iterable[Quarantined] = ()) -> None:
        self._entries: dict[tuple[str, str], Quarantined] = {}
        self._lock = threading.Lock()
        for entry in entries:
            self.add(entry)

    def add(self, entry: Quarantined) -> None:
        """Keep the first entry of a (location, key)."""
        with self._lock:
            self._entries.setdefault((entry.location, entry.key), entry)

    def add_all(self, entries: Iterable[Quarantined]) -> None:
        """Add several entries."""
        for entry in entries:
            self.add(entry)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> list[Quarantined]:
        """All entries, sorted by location and key, whatever order the threads met them in."""
        with self._lock:
            return [self._entries[place] for place in sorted(self._entries)]

    def counts(self) -> dict[str, int]:
        """Samples per kind of reason (the part before its first colon), the most frequent first."""
        kinds = Counter(entry.reason.partition(":")[0] for entry in self.entries)
        return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))

    def write(self, path: Path) -> None:
        """Write one JSON object (key, reason, location) per line, in place of what ``path`` held."""
        partial = path.with_name(f".{path.name}.partial")
        lines = (json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in self.entries)
        # Paths need not be UTF-8; such bytes are escaped as JSON escapes lone surrogates.
        partial.write_bytes("".join(lines).encode("utf-8", "backslashreplace"))
        partial.replace(path)
