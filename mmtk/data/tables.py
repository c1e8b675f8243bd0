"""Reading Parquet files that a recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmtk.errors import DataError


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file. Raises DataError when it is none, or damaged."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} can't be read as a Parquet file: {str(error).splitlines()[0]}") from error


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a Parquet file, in this order.

    Raises DataError when it is no Parquet file, is damaged, or lacks one of the columns.
    """
    try:
        missing = set(columns) - set(pq.read_schema(path).names)
        if not missing:
            return pq.read_table(path, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} can't be read as a Parquet file: {str(error).splitlines()[0]}") from error
    raise DataError(f"{path} has no column {', '.join(sorted(missing))}")
