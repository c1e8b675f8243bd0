"""Long passes over a dataset in parts, so that an interrupted stage goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmtk.api import DataError, Quarantined, RawSample, Reader
from mmtk.data.configs import EvaluationDataConfig
from mmtk.data.pipeline import Built, EvaluationData
from mmtk.errors import SampleError


class ReaderSlice:
    """The samples ``indices`` of a reader, as a reader."""

    quarantined: Sequence[Quarantined] = ()

    def __init__(self, reader: Reader, indices: range) -> None:
        self._reader = reader
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> RawSample:
        place = self._indices[index]
        try:
            return self._reader[place]
        except SampleError:
            raise
        except DataError as error:
            raise SampleError(str(error), f"sample {place}", "") from error


def images_of(config: EvaluationDataConfig, reader: Reader, indices: range) -> EvaluationData:
    """Return the images at ``indices``, their texts as they are: one that can't be cleaned costs no image."""
    part = Built(ReaderSlice(reader, indices))
    return EvaluationData(dataclasses.replace(config, reader=part, text_transform=Built(unchanged)))


def unchanged(text: str) -> str:
    """The text transform that leaves a text as it is."""
    return text


def in_parts(
    folder: Path, total: int, size: int, schema: pa.Schema, compute: Callable[[range], pa.Table]
) -> pa.Table:
    """Compute a table over ``range(total)``, ``size`` indices at a time, and return its rows in order.

    Args:
        folder: where whole parts are kept; a part found there is not computed again.
        compute: rows of a range of indices, in ``schema``. Must depend on nothing but the range.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = [schema.empty_table()]
    for start in range(0, total, size):
        path = folder / f"{start:012d}.parquet"
        if not path.exists():
            write_table(compute(range(start, min(start + size, total))), path)
        tables.append(pq.read_table(path, schema=schema))
    return pa.concat_tables(tables)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file that appears whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    pq.write_table(table, unfinished)
    unfinished.replace(path)


def write_json(data: object, path: Path) -> None:
    """Write a JSON file that appears whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
