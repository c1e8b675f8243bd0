"""How a pass is cut into parts, and what a finished part has left on the disk."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmtk.api import read_table

_WRITTEN = b"mmtk.written"
WEB_DATASET = ""  # the name of the pass's own dataset among those of the parts


@dataclass(frozen=True)
class Part:
    """Some neighbouring images of one dataset: what is worked on, written and redone as one.

    Attributes:
        number: from 0, over all datasets.
        dataset: whose images; ``WEB_DATASET`` or a name that a step has added.
        entry: the first step that sees them.
        images: their indices.
    """

    number: int
    dataset: str
    entry: int
    images: range


def cut(lengths: Mapping[str, int], entries: Mapping[str, int], size: int) -> list[Part]:
    """Cut datasets, in their order, into parts of up to ``size`` images."""
    ranges = [
        (name, range(start, min(start + size, length)))
        for name, length in lengths.items()
        for start in range(0, length, size)
    ]
    return [Part(number, name, entries[name], images) for number, (name, images) in enumerate(ranges)]


class FinishedParts:
    """The ledgers of finished parts. A part is finished when its ledger is there; its shard comes before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"

    def unfinished(self, parts: Sequence[Part]) -> list[int]:
        """The numbers of the parts that are still to be done."""
        return [part.number for part in parts if not self.path(part.number).exists()]

    def write(self, number: int, ledger: pa.Table, written: int) -> None:
        """Finish a part: note its rows and how many samples its shard has."""
        self._folder.mkdir(parents=True, exist_ok=True)
        metadata = {**(ledger.schema.metadata or {}), _WRITTEN: str(written).encode()}
        write_table(ledger.replace_schema_metadata(metadata), self.path(number))

    def read(self, parts: Sequence[Part]) -> tuple[list[pa.Table], int]:
        """Read the parts' ledgers, in order, and count the samples of their shards.

        Raises DataError when one can't be read.
        """
        tables = [read_table(self.path(part.number)) for part in parts]
        return tables, sum(int(table.schema.metadata[_WRITTEN]) for table in tables)


def unfinished(path: Path) -> Path:
    """Where to write what will be ``path``: under a name of this call's own.

    A worker that is taken for dead may still be writing the part that another one does anew.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file that appears whole or not at all, even if the machine goes down."""
    partial = unfinished(path)
    pq.write_table(table, partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(data: object, path: Path) -> None:
    """Write a JSON file that appears whole or not at all."""
    partial = unfinished(path)
    partial.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
