"""Reading tables in text files, JSON lines and CSV, with a folder of pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmtk.data.readers.addresses import find_files
from mmtk.data.readers.fields import Fields, file_names
from mmtk.data.readers.image_files import check_folder
from mmtk.data.readers.line_index import Records, csv_records, line_records
from mmtk.data.readers.parts import Parts
from mmtk.errors import DataError, SampleError
from mmtk.printable import printable
from mmtk.types import Quarantined, RawSample

Row = dict[str, Any]


class LineReader:
    """The rows of text files as samples. Use ``jsonl_reader`` or ``csv_reader`` to open one.

    A sample's key is its file's name and its line, ``train-17``; its location is ``FILE:LINE``. Opening it
    finds where the rows start; a row is parsed when it is read.
    """

    def __init__(
        self,
        files: Sequence[Records],
        parsers: Sequence[Callable[[bytes], Row]],
        fields: Fields,
        images: Path | None,
    ) -> None:
        """Take the files' records, a parser per file, and the folder of pictures (by default the file's)."""
        self._files = files
        self._parsers = parsers
        self._fields = fields
        self._images = images
        self._names = file_names([records.path for records in files])
        self._parts = Parts(map(len, files))
        self.quarantined = [
            Quarantined(f"{name}-{line}", reason, _location(records, line))
            for name, records in zip(self._names, files, strict=True)
            for line, reason in records.refused
        ]

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> RawSample:
        """Read one sample. Raises SampleError when its row or its picture can't be read."""
        number, row = self._parts.find(index)
        records = self._files[number]
        line = int(records.lines[row])
        key, location = f"{self._names[number]}-{line}", _location(records, line)
        try:
            values = self._parsers[number](records.read(row))
            return self._fields.sample(values, self._images or records.path.parent, key, location)
        except DataError as error:
            raise SampleError(printable(str(error)), key, location) from error


def _location(records: Records, line: int) -> str:
    return f"{printable(str(records.path))}:{line}"


def jsonl_reader(
    path: Path | Sequence[Path],
    images: Path | None = None,
    image: str = "image",
    text: str | Sequence[str] = "caption",
    image_id: str = "image_id",
    source: str = "",
) -> LineReader:
    """Open files of one JSON object per line. Raises DataError when one can't be read."""
    files = [line_records(file) for file in _files(path, ".jsonl")]
    check_folder(images)
    return LineReader(files, [parse_json] * len(files), Fields.of(image, text, image_id, source), images)


def csv_reader(
    path: Path | Sequence[Path],
    images: Path | None = None,
    image: str = "image",
    text: str | Sequence[str] = "caption",
    image_id: str = "image_id",
    source: str = "",
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
) -> LineReader:
    """Open CSV files. Raises DataError when one can't be read or lacks a column."""
    fields = Fields.of(image, text, image_id, source)
    check_folder(images)
    files, parsers = [], []
    for file in _files(path, ".csv"):
        mark = delimiter or ("\t" if file.suffix.lower() in (".tsv", ".tab") else ",")
        records = csv_records(file, mark)
        names = list(columns) if columns is not None else _header(records, mark)
        fields.check(names, file)
        files.append(records.rest() if columns is None else records)
        parsers.append(_CsvParser(names, mark))
    return LineReader(files, parsers, fields, images)


def _files(path: Path | Sequence[Path], suffix: str) -> list[Path]:
    return [Path(file) for file in find_files([path] if isinstance(path, str | Path) else path, suffix)]


def parse_json(line: bytes) -> Row:
    """Read a line as a JSON object. Raises DataError saying what is wrong, and at which column."""
    try:
        row = json.loads(_decoded(line))
    except json.JSONDecodeError as error:
        raise DataError(f"bad JSON: {error.msg}, in column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"bad JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"bad JSON: an object is expected, not {type(row).__name__}")
    return row


class _CsvParser:
    """Reads a record as a row. An object and no function, so that a reader can be sent to a process."""

    def __init__(self, columns: Sequence[str], delimiter: str) -> None:
        self._columns = columns
        self._delimiter = delimiter

    def __call__(self, record: bytes) -> Row:
        values = _values(record, self._delimiter)
        if len(values) != len(self._columns):
            raise DataError(f"bad line: {len(values)} fields, there are {len(self._columns)} columns")
        # An empty field is none: the columns of a table may hold several texts, and not each row has all.
        return {name: value or None for name, value in zip(self._columns, values, strict=True)}


def _header(records: Records, delimiter: str) -> list[str]:
    if not len(records):
        raise DataError(f"{records.path}: no header: the file is empty")
    try:
        return [name.strip() for name in _values(records.read(0), delimiter)]
    except DataError as error:
        raise DataError(f"{records.path}:{int(records.lines[0])}: {error}") from error


def _values(record: bytes, delimiter: str) -> list[str]:
    # Nothing but a line feed ends a line, as when the records were found.
    lines = (line + "\n" for line in _decoded(record).split("\n"))
    try:
        return next(csv.reader(lines, delimiter=delimiter))
    except (csv.Error, StopIteration) as error:
        raise DataError(f"bad line: {error}") from error


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"text is not UTF-8: byte {error.start} of the line") from error
