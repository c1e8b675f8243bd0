"""The section ``metric_table``: evaluations below each other, with their difference to the first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from mmtk.errors import DataError
from mmtk.report.jsonl import read_object
from mmtk.report.templating import render
from mmtk.report.wording import MINUS, decimals, figure, label_of, share

Value = int | float | None


@dataclass(frozen=True)
class Column:
    """A metric as the table shows it; ``group`` stands above neighbouring columns that share it."""

    name: str
    group: str
    label: str
    lower_is_better: bool = False

    @property
    def full_label(self) -> str:
        return f"{self.label} ({self.group})" if self.group else self.label


@dataclass(frozen=True)
class Cell:
    """A value as text; ``verdict`` is ``better``, ``worse``, ``same`` or empty where nothing can be said."""

    label: str
    value: str
    difference: str = ""
    relative: str = ""
    verdict: str = ""
    best: bool = False


class MetricTable:
    """A table of metrics files, one row each. The first row is the baseline of the others."""

    def __init__(
        self,
        *,
        rows: Mapping[str, Path],
        title: str,
        description: str,
        metrics: Mapping[str, str],
        lower_is_better: Sequence[str],
    ) -> None:
        self.title = title
        self._description = description
        self._rows = {name: read_metrics(path) for name, path in rows.items()}
        self._columns = columns_of(self._rows.values(), metrics, lower_is_better)

    def headline(self) -> str:
        """Say how the first fractional metric differs between the first row and the last."""
        names = list(self._rows)
        if len(names) < 2:
            return ""
        first, last = self._rows[names[0]], self._rows[names[-1]]
        for column in self._columns:
            before, after = first.get(column.name), last.get(column.name)
            if isinstance(before, float) and isinstance(after, float):
                cell = compared(column, after, before)
                change = f", {cell.relative}" if cell.relative else ""
                return (
                    f"{self.title}: {column.full_label} of {figure(before)} ({names[0]}) "
                    f"became {cell.value} ({names[-1]}){change}."
                )
        return ""

    def html(self) -> str:
        groups = [
            (name, len(list(members))) for name, members in groupby(self._columns, key=lambda c: c.group)
        ]
        return render(
            "mmtk.report",
            "metric_table.html",
            description=self._description,
            title=self.title,
            groups=groups if any(name for name, _ in groups) else [],
            columns=self._columns,
            rows=[(name, self._cells(name)) for name in self._rows],
        )

    def _cells(self, name: str) -> list[Cell]:
        values = self._rows[name]
        baseline = next(iter(self._rows.values()))
        cells = []
        for column in self._columns:
            before = None if values is baseline else baseline.get(column.name)
            cell = compared(column, values.get(column.name), before)
            cells.append(Cell(**{**vars(cell), "best": self._is_best(column, values.get(column.name))}))
        return cells

    def _is_best(self, column: Column, value: Value) -> bool:
        if not isinstance(value, float):
            return False
        present = [other for row in self._rows.values() if isinstance(other := row.get(column.name), float)]
        return len(present) > 1 and value == (min if column.lower_is_better else max)(present)


def compared(column: Column, value: Value, baseline: Value) -> Cell:
    """Return the cell of ``value``, with its difference to ``baseline`` where both are known."""
    if value is None or baseline is None:
        return Cell(column.full_label, figure(value))
    change = value - baseline
    places = None if isinstance(change, int) else max(decimals(value), decimals(baseline))
    difference = figure(change, signed=True, places=places)
    relative = (
        ("+" if change > 0 else MINUS) + share(abs(change), abs(baseline)) if change and baseline else ""
    )
    return Cell(column.full_label, figure(value), difference, relative, _verdict(column, change, difference))


def _verdict(column: Column, change: int | float, difference: str) -> str:
    if not any(digit in difference for digit in "123456789"):
        return "same"
    if isinstance(change, int):  # more or fewer of something is neither good nor bad in itself
        return ""
    return "better" if (change > 0) is not column.lower_is_better else "worse"


def read_metrics(path: Path) -> dict[str, Value]:
    """Return the numbers of a metrics file by name; nested objects are named ``outer/inner``.

    Metrics are often written as floats throughout: a whole number above 1 is taken for a count.
    A value that is null or not finite is None: known to be missing. Raises DataError when the file is no
    JSON object.
    """
    if path.suffix == ".jsonl":
        raise DataError(f"{path}: expected an evaluation's metrics (one JSON object), not a training log")
    return dict(_numbers(read_object(path), ""))


def _numbers(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += _numbers(value, f"{name}/")
        elif value is None or (isinstance(value, float) and not math.isfinite(value)):
            found.append((name, None))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((name, int(value) if value == int(value) and abs(value) > 1 else value))
    return found


def columns_of(
    rows: Iterable[Mapping[str, Value]], chosen: Mapping[str, str], lower_is_better: Sequence[str]
) -> list[Column]:
    """Return the chosen columns, or all that occur in ``rows``, metrics of one path side by side."""
    columns = []
    for name in chosen or dict.fromkeys(name for row in rows for name in row):
        *path, leaf = name.split("/")
        group = (
            ""
            if chosen.get(name)
            else ", ".join(label_of(part, first=not place) for place, part in enumerate(path))
        )
        columns.append(Column(name, group, chosen.get(name) or label_of(leaf), name in lower_is_better))
    if chosen:
        return columns
    order = list(dict.fromkeys(column.group for column in columns))
    return sorted(columns, key=lambda column: order.index(column.group))
