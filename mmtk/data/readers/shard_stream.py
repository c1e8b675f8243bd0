"""Reading a shard once, from its start to its end: what streams need, wherever the shard lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from mmtk.data.readers.addresses import describe, filesystem, is_remote, local_path
from mmtk.data.readers.tar_headers import Tape
from mmtk.data.readers.tar_samples import Group, assemble, groups
from mmtk.errors import DataError
from mmtk.printable import printable
from mmtk.types import Quarantined, RawSample


def iterate_shard(address: str, source: str | None = None) -> Iterator[RawSample | Quarantined]:
    """Read a shard as ``read_shard`` does; an error of opening or reading it is a last ``Quarantined``."""
    location = printable(address)
    try:
        yield from read_shard(address, source)
    except Exception as error:  # every store has error types of its own
        reason = f"unreadable shard: {printable(describe(error))}"
        yield Quarantined(location.rpartition("/")[2], reason, location)


def read_shard(address: str, source: str | None = None) -> Iterator[RawSample | Quarantined]:
    """Read a tar shard in one pass, without an index, holding one sample at a time and the keys' hashes.

    ``address`` is a path or whatever fsspec opens. Keys, rules and reasons are those of the reader
    ``webdataset``. What can't be used comes as ``Quarantined``, and so does damage, which ends the shard.
    Raises DataError, or what the store raises, when the shard can't be opened or reading it fails.

    Args:
        address: the shard.
        source: where the texts come from; overrides what the shard says.
    """
    location = printable(address)
    name = location.rpartition("/")[2]
    seen: set[int] = set()
    with open_tape(address) as tape:
        for group in groups(tape, name, load=True):
            yield _sample(group, seen, name, source, location)


def _sample(
    group: Group, seen: set[int], name: str, source: str | None, location: str
) -> RawSample | Quarantined:
    if group.refusal:
        return Quarantined(group.key, group.refusal, location)
    if hash(group.key) in seen:
        return Quarantined(group.key, f"duplicate key: it is in {name} before", location)
    seen.add(hash(group.key))
    image = group.image
    assert image is not None, "groups without an image are refused"
    parts = group.data
    try:
        return assemble(
            group.key, parts[image.extension], parts.get("txt"), parts.get("json"), source, location
        )
    except DataError as error:
        return Quarantined(group.key, str(error), location)


@contextmanager
def open_tape(address: str) -> Iterator[Tape]:
    """Open a shard to be read forward. Raises DataError, or what the store raises, when that fails."""
    if not is_remote(address):
        with local_path(address).open("rb", buffering=1 << 16) as local:
            yield Tape(local, os.fstat(local.fileno()).st_size)
        return
    fs, path = filesystem(address)
    with fs.open(path, "rb") as remote:
        size = getattr(remote, "size", None)
        yield Tape(cast(BinaryIO, remote), size if isinstance(size, int) else None)
