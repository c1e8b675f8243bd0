"""Reading WebDataset shards with random access."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmtk.data.readers.addresses import describe, filesystem, find_shards, is_remote, local_path
from mmtk.data.readers.index_files import shard_index
from mmtk.data.readers.parts import Parts
from mmtk.data.readers.tar_index import ShardIndex, Span
from mmtk.data.readers.tar_samples import assemble
from mmtk.errors import DataError, SampleError
from mmtk.printable import printable
from mmtk.types import Quarantined, RawSample

REQUESTS = 16  # indexes of remote shards that are asked for at a time
WASTE = 1 << 16  # bytes between a sample's parts that are read along to save a request
PARTS = ("image", "txt", "json")
NO_HASHES = np.empty(0, np.uint64)


class WebDatasetReader:
    """Image-text pairs in tar shards: ``KEY.webp`` (or another image type), ``KEY.txt`` and ``KEY.json``.

    ``mmtk.data.readers.tar_samples.assemble`` says what is read of them. Opening the reader reads an index
    file per shard, or the tar headers where there is none yet. Reading a sample opens its shard anew, so
    threads and processes may share a reader.
    """

    def __init__(
        self,
        path: Path | str | Sequence[Path | str],
        source: str | None = None,
        index: Path | None = None,
    ) -> None:
        """Raises DataError when a path names nothing or a shard can't be opened."""
        self.source = source
        self.shards = find_shards([path] if isinstance(path, str | Path) else path)
        self.quarantined: list[Quarantined] = []
        indexes = list(_open(self.shards, index))
        duplicates = _duplicates(indexes, self.shards)
        self._indexes: list[ShardIndex] = []
        for number, (shard, found) in enumerate(zip(self.shards, indexes, strict=True)):
            repeated = duplicates.get(number, {})
            refused = [*found.refused, *((found.key(row), reason) for row, reason in repeated.items())]
            self.quarantined += [Quarantined(key, reason, printable(shard)) for key, reason in refused]
            usable = found.without(list(repeated)) if repeated else found
            self._indexes.append(replace(usable, key_hashes=NO_HASHES))
        self._parts = Parts(map(len, self._indexes))

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> RawSample:
        """Read one sample. Raises SampleError when its text or its JSON can't be read."""
        number, row = self._parts.find(index)
        shard = self.shards[number]
        key, location = self._indexes[number].key(row), printable(shard)
        try:
            image, text, facts = read_parts(shard, self._indexes[number].spans(row))
            return assemble(key, image or b"", text, facts, self.source, location)
        except DataError as error:
            raise SampleError(str(error), key, location) from error
        except Exception as error:  # every store has error types of its own
            raise SampleError(f"unreadable shard: {printable(describe(error))}", key, location) from error


def read_parts(shard: str, spans: Sequence[Span]) -> list[bytes | None]:
    """Read parts of a shard, None for those that are missing. Neighbours are read together.

    Raises DataError when the shard ends before a part does, and what the file or its store raises.
    """
    present = [span for span in spans if span.offset]
    start = min(span.offset for span in present)
    end = max(span.offset + span.size for span in present)
    if end - start - sum(span.size for span in present) <= WASTE:
        whole = Span(start, end - start)
        data = _read(shard, [whole])[0]
        parts = [data[span.offset - start : span.offset - start + span.size] for span in present]
    else:
        parts = _read(shard, present)
    found = dict(zip(present, parts, strict=True))
    for name, span in zip(PARTS, spans, strict=True):
        if span.offset and len(found[span]) < span.size:
            raise DataError(f"cut-off shard: the {name} ends after {len(found[span])} of {span.size} bytes")
    return [found[span] if span.offset else None for span in spans]


def _read(shard: str, spans: Sequence[Span]) -> list[bytes]:
    if is_remote(shard):
        fs, path = filesystem(shard)
        # An empty range is none to a web server.
        found = [fs.cat_file(path, one.offset, one.offset + one.size) if one.size else b"" for one in spans]
        if any(len(data) > one.size for data, one in zip(found, spans, strict=True)):
            raise DataError("unreadable shard: its server answers with more than the range it was asked for")
        return found
    descriptor = os.open(local_path(shard), os.O_RDONLY)
    try:
        return [os.pread(descriptor, one.size, one.offset) for one in spans]
    finally:
        os.close(descriptor)


def _open(shards: Sequence[str], folder: Path | None) -> Iterable[ShardIndex]:
    if not any(is_remote(shard) for shard in shards):
        return [shard_index(shard, folder) for shard in shards]
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(lambda shard: shard_index(shard, folder), shards))


def _duplicates(indexes: Sequence[ShardIndex], shards: Sequence[str]) -> dict[int, dict[int, str]]:
    """Find the samples whose key an earlier sample has: shard number, row in it and the reason."""
    hashes = np.concatenate([index.key_hashes for index in indexes])
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    same = np.flatnonzero(hashes[1:] == hashes[:-1])
    if not len(same):
        return {}
    parts = Parts(map(len, indexes))
    first: dict[str, int] = {}
    found: dict[int, dict[int, str]] = {}
    # A sample stands in two pairs of neighbours where its key comes three times.
    for sample in sorted({int(order[place]) for pair in same for place in (pair, pair + 1)}):
        number, row = parts.find(sample)
        key = indexes[number].key(row)
        if key in first:
            place = shards[first[key]].rpartition("/")[2]
            found.setdefault(number, {})[row] = f"duplicate key: it is in {printable(place)} before"
        else:
            first[key] = number
    return found
