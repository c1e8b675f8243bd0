"""The record of samples that could not be used, and the limit on how many these may be."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from mmtk.errors import DataError
from mmtk.printable import brief
from mmtk.report.wording import counted
from mmtk.types import Quarantined

FEW = 100  # a share of fewer samples than these says nothing


class Quarantine:
    """Samples that could not be used, each once however often it was met. Safe to share between threads."""

    def __init__(self, entries: Iterable[Quarantined] = ()) -> None:
        self._entries: dict[tuple[str, str], Quarantined] = {}
        self._lock = threading.Lock()
        self._file: Path | None = None
        for entry in entries:
            self.add(entry)

    def add(self, entry: Quarantined) -> None:
        """Keep the first entry of a (location, key)."""
        with self._lock:
            if self._entries.setdefault((entry.location, entry.key), entry) is not entry:
                return
            if self._file is not None:
                with self._file.open("ab") as file:
                    file.write(_line(entry))

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
            return self._sorted()

    def _sorted(self) -> list[Quarantined]:
        return [self._entries[place] for place in sorted(self._entries)]

    def counts(self) -> dict[str, int]:
        """Samples per kind of reason (the part before its first colon), the most frequent first."""
        kinds = Counter(entry.reason.partition(":")[0] for entry in self.entries)
        return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))

    def write(self, path: Path) -> None:
        """Write one JSON object (key, reason, location) per line, in place of what ``path`` held."""
        with self._lock:
            self._write(path)

    def follow(self, path: Path) -> None:
        """Write ``path`` now and append each further entry at once, so that a crash loses none."""
        with self._lock:
            self._write(path)
            self._file = path

    def _write(self, path: Path) -> None:
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(b"".join(map(_line, self._sorted())))
        partial.replace(path)


class LimitPassedError(DataError):
    """More samples can't be used than ``max_quarantined`` allows."""


class Refusals:
    """What this process could not use of what it tried, held against a limit. Safe to share between threads.

    A share counts what this process tried: not what a saved state brought back, nor what an index refused.

    Args:
        quarantine: takes the entries.
        limit: greatest number of entries in the quarantine or, below 1 and above 0, their greatest share of
            the samples tried, from 100 tries on; None for no limit.
    """

    def __init__(self, quarantine: Quarantine, limit: float | None) -> None:
        self.quarantine = quarantine
        self._limit = limit
        self._met: set[tuple[str, str]] = set()
        self._tried = 0
        self._lock = threading.Lock()

    def count_try(self) -> None:
        """Note that a sample is tried, once for each."""
        with self._lock:
            self._tried += 1

    def add(self, entry: Quarantined) -> None:
        """Quarantine a sample that was tried.

        Raises LimitPassedError when that passes the limit, and without adding anything once it is passed.
        """
        with self._lock:
            self._check()
            self.quarantine.add(entry)
            self._met.add((entry.location, entry.key))
            self._check()

    def check(self) -> None:
        """Raise LimitPassedError when the limit is passed."""
        with self._lock:
            self._check()

    def _check(self) -> None:
        if self._limit is None:
            return
        if not 0 < self._limit < 1:
            if len(self.quarantine) > self._limit:
                raise LimitPassedError(
                    self._complaint(counted(len(self.quarantine), "sample"), f"{self._limit:g}")
                )
            return
        met, tried = len(self._met), self._tried
        if tried >= FEW and met > self._limit * tried:
            raise LimitPassedError(self._complaint(f"{met:,} of {tried:,} samples", f"{self._limit:.3g}"))

    def _complaint(self, amount: str, limit: str) -> str:
        counts = ", ".join(f"{brief(reason)} {count:,}" for reason, count in self.quarantine.counts().items())
        first = "".join(
            f"\n  {brief(e.location)}: {brief(e.key)}: {brief(e.reason)}" for e in self.quarantine.entries[:3]
        )
        return f"{amount} can't be used, and max_quarantined is {limit}: {counts}. The first ones:{first}"


def _line(entry: Quarantined) -> bytes:
    """An entry as a line of JSON. Paths need not be UTF-8; their bytes are escaped as lone surrogates are."""
    return (json.dumps(asdict(entry), ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
