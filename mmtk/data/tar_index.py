"""Where the samples of a tar shard lie, found by reading its headers alone."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mmtk.errors import DataError
from mmtk.types import Quarantined


class Member(NamedTuple):
    """One file in a tar: its sample's key, what follows the key's dot, and where its bytes lie."""

    key: str
    extension: str
    offset: int
    size: int


@dataclass(slots=True)
class Group:
    """Consecutive members of one key: a sample, as WebDataset defines it."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)


@dataclass(slots=True)
class ShardIndex:
    """A shard's samples, and what of it can't be used."""

    path: Path
    groups: list[Group] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)

    def add(self, member: Member) -> None:
        last = self.groups[-1] if self.groups else None
        if last is None or last.key != member.key or member.extension in last.members:
            last = Group(member.key)
            self.groups.append(last)
        last.members[member.extension] = member

    def refuse(self, key: str, reason: str) -> None:
        self.quarantined.append(Quarantined(key, reason, str(self.path)))


def index_shard(path: Path) -> ShardIndex:
    """Read the headers of a tar file.

    Of a file that is cut off or damaged, the whole samples before the damage are kept; the sample that is cut
    is quarantined, and so is the shard, under its file name, where it breaks off between members. Raises
    DataError when the file can't be opened.
    """
    index = ShardIndex(path)
    try:
        size = path.stat().st_size
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    with file:
        try:
            # Names need not be UTF-8, but keys must be: ledgers and shards hold them.
            tar = tarfile.open(  # noqa: SIM115 (it has nothing of its own to close)
                fileobj=file, mode="r:", encoding="utf-8", errors="backslashreplace"
            )
        except (tarfile.TarError, ValueError, OverflowError):
            index.refuse(path.name, "damaged shard: empty, or not an uncompressed tar file")
            return index
        for member in _members(tar):
            if member.offset + member.size > size:
                _refuse_cut(index, member, size)
                return index
            index.add(member)
        if not _at_end_mark(file, tar.offset):
            _refuse_rest(index)
    return index


def _members(tar: tarfile.TarFile) -> Iterator[Member]:
    """Yield the files of the tar up to its end or its first damage."""
    header = 0
    while True:
        try:
            info = tar.next()
        except (tarfile.TarError, ValueError, OverflowError):
            return
        if info is None:
            return
        if tar.offset <= header:  # a damaged header with a negative size, which leads back
            tar.offset = header
            return
        header = tar.offset
        tar.members.clear()  # type: ignore[attr-defined]  # TarFile would keep every header
        folder, _, name = info.name.removeprefix("./").rpartition("/")
        key, _, extension = name.partition(".")
        if info.isreg() and key and extension:
            yield Member(f"{folder}/{key}" if folder else key, extension.lower(), info.offset_data, info.size)


def _at_end_mark(file: BinaryIO, offset: int) -> bool:
    """Say whether a block of zeros, which ends a tar, lies at ``offset``."""
    file.seek(offset)
    return file.read(tarfile.BLOCKSIZE) == tarfile.NUL * tarfile.BLOCKSIZE


def _refuse_cut(index: ShardIndex, cut: Member, size: int) -> None:
    if index.groups and index.groups[-1].key == cut.key:
        index.groups.pop()
    there = max(size - cut.offset, 0)
    index.refuse(cut.key, f"cut-off shard: it ends in the {cut.extension}, after {there} of {cut.size} bytes")


def _refuse_rest(index: ShardIndex) -> None:
    last = index.groups[-1] if index.groups else None
    # The break may have taken members of the last sample: it has fewer than the one before it.
    if last is not None and len(index.groups) > 1 and len(last.members) < len(index.groups[-2].members):
        index.groups.pop()
        index.refuse(last.key, "cut-off shard: it breaks off within this sample")
    place = "before its first sample" if last is None else f"behind {last.key!r}"
    index.refuse(index.path.name, f"damaged shard: it breaks off {place}, without an end mark")
