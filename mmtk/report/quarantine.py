"""The section ``quarantine``: samples that could not be used, by reason, and the first of them by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmtk.report.jsonl import read_lines
from mmtk.report.templating import render
from mmtk.types import Quarantined

_MOST_REASONS = 12


@dataclass(frozen=True)
class _File:
    name: str
    total: int
    reasons: list[tuple[str, int]]
    other_reasons: int
    other_samples: int
    first: list[Quarantined]


class QuarantineSection:
    """Counts by reason for each file of quarantined samples."""

    def __init__(self, *, files: Mapping[str, Path], title: str, first: int) -> None:
        self.title = title
        self._files = [_summary(name, read_quarantine(path), first) for name, path in files.items()]

    def html(self) -> str:
        return render("mmtk.report", "quarantine.html", files=self._files)


def read_quarantine(path: Path) -> list[Quarantined]:
    """Return the entries of a quarantine file (JSON lines with ``key``, ``reason`` and ``location``)."""
    return [
        Quarantined(
            str(line.get("key", "")),
            str(line.get("reason") or "no reason given"),
            str(line.get("location") or ""),
        )
        for line in read_lines(path)
    ]


def _summary(name: str, entries: list[Quarantined], first: int) -> _File:
    # A reason starts with its kind; what follows the first colon differs from sample to sample.
    counts = sorted(
        Counter(entry.reason.partition(":")[0] for entry in entries).items(),
        key=lambda item: (-item[1], item[0]),
    )
    rest = counts[_MOST_REASONS:]
    return _File(
        name=name,
        total=len(entries),
        reasons=counts[:_MOST_REASONS],
        other_reasons=len(rest),
        other_samples=sum(number for _, number in rest),
        first=entries[:first],
    )
