"""Keeping the indexes of shards in files, so that a dataset opens at once from the second time on."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmtk.data.readers.addresses import INDEX_SUFFIX, describe, filesystem, is_remote, local_path
from mmtk.data.readers.shard_stream import open_tape
from mmtk.data.readers.tar_index import ShardIndex
from mmtk.errors import DataError
from mmtk.types import stable_hash

# What stores call the facts that change with a file's content.
STATE_KEYS = (
    "etag", "ETag", "Content-MD5", "md5", "md5Hash", "generation", "VersionId",
    "mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created",
)  # fmt: skip
# A file that is written twice within a clock's tick looks the same both times.
SETTLED_SECONDS = 2.0


def shard_index(address: str, folder: Path | None = None) -> ShardIndex:
    """Return the index of a shard: from its index file if that is whole and of this version, else by reading.

    An index file that is missing, damaged or stale is written anew, without a word, in ``folder`` or else
    beside the shard. Where that folder takes no files, or the shard is remote, it goes into the user's cache
    folder, and where that takes none either, nowhere.

    Raises DataError when the shard can't be read.
    """
    try:
        state = remote_state(address) if is_remote(address) else local_state(local_path(address))
    except DataError:
        raise
    except Exception as error:  # every store has error types of its own
        raise DataError(f"can't read {address}: {describe(error)}") from error
    places = list(index_places(address, folder))
    for place in places:
        # A file that leads to any error at all is no index of ours.
        with suppress(Exception):
            index = ShardIndex.from_bytes(place.read_bytes(), state)
            if index is not None:
                return index
    try:
        with open_tape(address) as tape:
            index = ShardIndex.scan(tape, address.rpartition("/")[2])
    except Exception as error:
        raise DataError(f"can't read {address}: {describe(error)}") from error
    if _is_settled(state):
        _save(index.to_bytes(state), places)
    return index


def local_state(path: Path) -> dict[str, Any]:
    """What tells one version of a file from another. Raises OSError."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def remote_state(address: str) -> dict[str, Any]:
    """Likewise, for a remote file: its size and the tags and times that its store tells."""
    fs, path = filesystem(address)
    facts = fs.info(path)
    return {"size": facts.get("size"), **{key: str(facts[key]) for key in STATE_KEYS if facts.get(key)}}


def index_places(address: str, folder: Path | None) -> Iterator[Path]:
    """The paths at which a shard's index may lie, the best first."""
    name = address.rpartition("/")[2]
    if folder is not None:
        yield _place_in(folder, address, name)
        return
    if not is_remote(address):
        path = local_path(address)
        yield path.with_name(name + INDEX_SUFFIX)
        address = str(path.absolute())
    yield _place_in(cache_folder(), address, name)


def _place_in(folder: Path, address: str, name: str) -> Path:
    # Shards of one name from several places share the folder.
    return folder / f"{name[:80]}-{stable_hash(address):016x}{INDEX_SUFFIX}"


def cache_folder() -> Path:
    """The folder for mmtk's indexes where the system keeps what programs can make again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mmtk" / "indexes"


def _is_settled(state: Mapping[str, Any]) -> bool:
    """Whether a later version of the shard is sure to have another state."""
    if not isinstance(state.get("size"), int):
        return False
    if "mtime_ns" in state:
        return abs(time.time() - state["mtime_ns"] / 1e9) > SETTLED_SECONDS
    return len(state) > 1


def _save(content: bytes, places: list[Path]) -> None:
    """Write an index file, whole or not at all, into the first place that takes it."""
    for place in places:
        # Ends like an index, so that whoever passes over indexes passes over this as well.
        partial = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}{INDEX_SUFFIX}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(place)
            return
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
