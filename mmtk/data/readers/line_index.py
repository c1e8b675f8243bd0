"""Where the lines of a text file and the records of a CSV file start: 16 bytes each, and nothing of them."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmtk.errors import DataError

CHUNK = 1 << 24
MAX_RECORD = 1 << 20  # bytes
LINE_FEED = 10
BLANKS = (9, LINE_FEED, 13, 32)
TOO_LONG = f"bad line: more than {MAX_RECORD} bytes"


@dataclass(frozen=True)
class Records:
    """The records of a text file.

    Attributes:
        path: the file.
        starts: ``(N,)`` uint64, the byte at which each starts.
        sizes: ``(N,)`` uint32, its bytes.
        lines: ``(N,)`` uint32, the line at which it starts, counted from 1.
        refused: line and reason of each record that can't be read.
    """

    path: Path
    starts: np.ndarray
    sizes: np.ndarray
    lines: np.ndarray
    refused: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    def read(self, index: int) -> bytes:
        """Read a record. Raises DataError when the file can't be read or has become shorter."""
        start, size = int(self.starts[index]), int(self.sizes[index])
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                data = os.pread(descriptor, size, start)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DataError(f"unreadable file: {error.strerror}") from error
        if len(data) < size:
            raise DataError("cut-off file: it has become shorter")
        return data

    def rest(self) -> Records:
        """All records but the first."""
        return Records(self.path, self.starts[1:], self.sizes[1:], self.lines[1:], self.refused)


def line_records(path: Path) -> Records:
    """Find the lines of a file, without the blank ones. Raises DataError when it can't be read."""
    try:
        bounds = _line_bounds(path)
        sizes = np.diff(bounds)
        fits = sizes <= MAX_RECORD
        refused = tuple((int(line) + 1, TOO_LONG) for line in np.flatnonzero(~fits))
        short = np.flatnonzero(sizes <= 2)
        if len(short):
            first_bytes = np.memmap(path, np.uint8, "r")[bounds[short]]
            fits[short] = ~np.isin(first_bytes, BLANKS)
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    kept = np.flatnonzero(fits)
    return _records(path, bounds[kept], sizes[kept], kept, refused)


def csv_records(path: Path, delimiter: str) -> Records:
    """Find the records of a CSV file, whose quoted fields may hold line breaks.

    A record that is longer than 1 MiB, or whose last quote is never closed, is refused under its first line,
    and the line after that starts the next one. Raises DataError when the file can't be read.
    """
    refused: list[tuple[int, str]] = []
    first_lines, counts = array("q"), array("q")
    try:
        if not _has_quotes(path):
            return line_records(path)
        bounds = _line_bounds(path)
        with path.open("rb") as file:
            line = 0
            while line < len(bounds) - 1:
                file.seek(int(bounds[line]))
                for taken, blank, fault in _csv_records(file, delimiter):
                    if fault:
                        refused.append((line + 1, fault))
                    elif not blank:
                        first_lines.append(line)
                        counts.append(taken)
                    line += taken
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    firsts = np.array(first_lines, np.int64)
    starts, ends = bounds[firsts], bounds[firsts + np.array(counts, np.int64)]
    return _records(path, starts, ends - starts, firsts, tuple(refused))


def _records(
    path: Path, starts: np.ndarray, sizes: np.ndarray, lines: np.ndarray, refused: tuple[tuple[int, str], ...]
) -> Records:
    return Records(
        path, starts.astype(np.uint64), sizes.astype(np.uint32), (lines + 1).astype(np.uint32), refused
    )


def _line_bounds(path: Path) -> np.ndarray:
    """Return where each line starts and where the last one ends: ``(lines + 1,)`` int64."""
    found = [np.zeros(1, np.int64)]
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == LINE_FEED) + (size + 1))
            size += len(chunk)
    bounds = np.concatenate(found)
    return bounds if bounds[-1] == size else np.append(bounds, size)  # no line feed ends the last line


def _has_quotes(path: Path) -> bool:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if b'"' in chunk:
                return True
    return False


class _Lines:
    """Gives a file's lines to a CSV parser and counts those of the current record."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.taken = 0
        self.size = 0
        self.at_end = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_RECORD + 1)
        self.size += len(line)
        if self.size > MAX_RECORD:
            raise csv.Error(TOO_LONG.removeprefix("bad line: "))
        if not line:
            self.at_end = True
            raise StopIteration
        self.taken += 1
        # Structure is ASCII, whatever the texts are written in.
        return line.decode("latin-1")


def _csv_records(file: BinaryIO, delimiter: str) -> Iterator[tuple[int, bool, str]]:
    """Yield the lines that each record takes, whether it is blank, and its fault, which is the last one."""
    lines = _Lines(file)
    parser = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            fields = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            yield 1, False, f"bad line: {error}"
            return
        # A parser asks for a line more than there is only within quotes.
        if lines.at_end:
            yield 1, False, "bad line: a quote in it is never closed"
            return
        yield lines.taken, not fields, ""
        lines.taken = lines.size = 0
