"""WebDataset shards that are read in one pass, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmtk.data.readers.addresses import find_shards
from mmtk.data.readers.shard_stream import read_shard
from mmtk.types import Quarantined, RawSample


class WebDatasetStream:
    """Image-text pairs in tar shards, by the rules of the reader ``webdataset``, without an index.

    Keys need only be unique within a shard.
    """

    def __init__(self, path: str | Path | Sequence[str | Path], source: str | None = None) -> None:
        """Raises DataError when a path names nothing."""
        self.shards: Sequence[str] = find_shards([path] if isinstance(path, str | Path) else path)
        self._source = source

    def read(self, shard: str) -> Iterator[RawSample | Quarantined]:
        return read_shard(shard, self._source)
