"""Reading Parquet files with random access, a row group at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmtk.data.readers.addresses import describe, find_files
from mmtk.data.readers.fields import Fields, file_names
from mmtk.data.readers.image_files import check_folder
from mmtk.data.readers.parts import Parts
from mmtk.errors import DataError, SampleError
from mmtk.printable import printable
from mmtk.types import Quarantined, RawSample

MAX_GROUP = 8 << 30  # bytes that a row group says it has when it is unpacked
BROKEN = (OSError, ValueError, MemoryError, pa.ArrowException)


@dataclass(frozen=True)
class Table:
    """One file: its footer, the columns that are read, and its row groups."""

    path: Path
    footer: pq.FileMetaData
    columns: list[str]
    groups: Parts


class GroupCache:
    """The row groups that were read last. Safe to share between threads; a copy for a process is empty."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[GroupCache], tuple[int]]:
        return GroupCache, (self._size,)

    def get(self, place: tuple[int, int], read: Callable[[], pa.Table]) -> pa.Table:
        """Return the group at ``place``, read if it isn't there. Raises what ``read`` does."""
        with self._lock:
            if place in self._groups:
                self._groups.move_to_end(place)
                return self._groups[place]
        found = read()
        with self._lock:
            self._groups[place] = found
            while len(self._groups) > self._size:
                self._groups.popitem(last=False)
        return found


class ParquetReader:
    """The rows of Parquet files as samples.

    The column of the pictures holds bytes, paths, or the struct of ``bytes`` and ``path`` that the library
    ``datasets`` writes. A sample's key is its file's name and its row, ``train-17``, counted from 0. A file
    that is none is quarantined.

    Reading a row reads the row group it is in. The last few groups stay in memory, shared by all threads.
    """

    def __init__(
        self,
        path: Path | Sequence[Path],
        images: Path | None = None,
        image: str = "image",
        text: str | Sequence[str] = "caption",
        image_id: str = "image_id",
        source: str = "",
        cached_groups: int = 4,
    ) -> None:
        """Raises DataError when a path names nothing, a file lacks a column or the folder is missing."""
        check_folder(images)
        self._images = images
        self._fields = Fields.of(image, text, image_id, source)
        self.quarantined: list[Quarantined] = []
        self._tables: list[Table] = []
        for file in find_files([path] if isinstance(path, str | Path) else path, ".parquet"):
            try:
                self._tables.append(self._open(Path(file)))
            except BROKEN as error:
                reason = f"damaged file: {printable(describe(error))[:200]}"
                self.quarantined.append(Quarantined(printable(Path(file).name), reason, printable(file)))
        self._names = file_names([table.path for table in self._tables])
        self._parts = Parts(len(table.groups) for table in self._tables)
        self._groups = GroupCache(cached_groups)

    def _open(self, path: Path) -> Table:
        with pq.ParquetFile(path) as file:
            footer, names = file.metadata, file.schema_arrow.names
        columns = self._fields.check(names, path)
        rows = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        if min(rows, default=0) < 0:
            raise ValueError("a row group with less than no rows")
        return Table(path, footer, columns, Parts(rows))

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> RawSample:
        """Read one sample. Raises SampleError when its row group, its row or its picture can't be read."""
        number, row = self._parts.find(index)
        table = self._tables[number]
        key, location = f"{self._names[number]}-{row}", printable(str(table.path))
        group, place = table.groups.find(row)
        try:
            rows = self._groups.get((number, group), lambda: _read_group(table, group))
            (values,) = rows.slice(place, 1).to_pylist()
            return self._fields.sample(values, self._images or table.path.parent, key, location)
        except DataError as error:
            raise SampleError(printable(str(error)), key, location) from error
        except BROKEN as error:
            reason = f"damaged file: {printable(describe(error))[:200]}"
            raise SampleError(reason, key, location) from error


def _read_group(table: Table, group: int) -> pa.Table:
    if table.footer.row_group(group).total_byte_size > MAX_GROUP:
        raise DataError(f"too large a row group: number {group} has more than {MAX_GROUP >> 30} GiB")
    # A file of its own: one that is shared can't be read by two threads at a time.
    with pq.ParquetFile(table.path, metadata=table.footer, page_checksum_verification=True) as file:
        return file.read_row_group(group, columns=table.columns, use_threads=False)
