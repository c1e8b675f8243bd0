"""Where the samples of a tar shard lie: arrays instead of an object per sample, in memory and in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from mmtk.data.readers.tar_headers import BLOCK, Member, Tape
from mmtk.data.readers.tar_samples import Group, groups

MAGIC = b"mmtk index 1\n"
DIGEST = 16
MISSING = Member("", "", 0, 0)  # nothing lies at 0, where the first header is


class Span(NamedTuple):
    """Bytes in a shard; of size 0 and at 0 where a sample lacks the part."""

    offset: int
    size: int


@dataclass(frozen=True)
class ShardIndex:
    """The samples of a shard, and what of it can't be used.

    Attributes:
        parts: ``(N, 6)`` uint32: where picture, text and JSON of each sample start, in blocks of 512 bytes,
            and how many bytes they have.
        key_ends: ``(N,)`` uint32, where each key ends in ``keys``.
        key_hashes: ``(N,)`` uint64, to find keys that come twice.
        keys: the keys in UTF-8, one behind the other.
        refused: key and reason of each sample that can't be used, and of faults of the shard itself.
    """

    parts: np.ndarray
    key_ends: np.ndarray
    key_hashes: np.ndarray
    keys: bytes
    refused: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.parts)

    def key(self, index: int) -> str:
        start = self.key_ends[index - 1] if index else 0
        return self.keys[start : self.key_ends[index]].decode()

    def spans(self, index: int) -> tuple[Span, Span, Span]:
        """Where a sample's picture, text and JSON lie."""
        row = self.parts[index].tolist()
        image, text, facts = (Span(row[part] * BLOCK, row[part + 3]) for part in range(3))
        return image, text, facts

    @classmethod
    def scan(cls, tape: Tape, shard: str) -> Self:
        """Read the headers of a tar, ``shard`` being its file name. Raises what the file does."""
        rows: list[tuple[int, ...]] = []
        keys: list[bytes] = []
        refused: list[tuple[str, str]] = []
        for group in groups(tape, shard, load=False):
            row = None if group.refusal else _row(group)
            if row is None:
                refused.append((group.key, group.refusal or "too far back: it lies behind 2 TiB of shard"))
                continue
            rows.append(row)
            keys.append(group.key.encode())
        lengths = np.array([len(key) for key in keys], np.uint32)
        return cls(
            parts=np.array(rows, np.uint32).reshape(-1, 6),
            key_ends=np.cumsum(lengths, dtype=np.uint32),
            key_hashes=np.array([_hash(key) for key in keys], np.uint64),
            keys=b"".join(keys),
            refused=tuple(refused),
        )

    def to_bytes(self, state: Mapping[str, Any]) -> bytes:
        """Return the content of an index file; ``state`` tells one version of the shard from another."""
        facts = {"state": state, "samples": len(self), "keys": len(self.keys), "refused": self.refused}
        header = json.dumps(facts).encode()
        body = b"".join(
            [
                MAGIC,
                len(header).to_bytes(8, "little"),
                header,
                self.parts.astype("<u4").tobytes(),
                self.key_ends.astype("<u4").tobytes(),
                self.key_hashes.astype("<u8").tobytes(),
                self.keys,
            ]
        )
        return body + _digest(body)

    @classmethod
    def from_bytes(cls, content: bytes, state: Mapping[str, Any]) -> Self | None:
        """Read an index file; None when it is damaged or of another version of the shard."""
        start = len(MAGIC) + 8
        if not content.startswith(MAGIC) or _digest(content[:-DIGEST]) != content[-DIGEST:]:
            return None
        place = start + int.from_bytes(content[len(MAGIC) : start], "little")
        facts = json.loads(content[start:place])
        if facts["state"] != dict(state):
            return None
        samples = facts["samples"]
        arrays = []
        for dtype, width in (("<u4", 6), ("<u4", 1), ("<u8", 1)):
            size = np.dtype(dtype).itemsize * width * samples
            # A slice of its own: the hashes must not stay in memory for the sake of the rest.
            arrays.append(np.frombuffer(content[place : place + size], dtype))
            place += size
        index = cls(
            parts=arrays[0].reshape(-1, 6),
            key_ends=arrays[1],
            key_hashes=arrays[2],
            keys=content[place : place + facts["keys"]],
            refused=tuple((str(key), str(reason)) for key, reason in facts["refused"]),
        )
        return index if index._fits(samples, facts["keys"], state["size"]) else None

    def _fits(self, samples: int, keys: int, size: int) -> bool:
        """Whether every number lies within its bounds, so that no sample leads out of the shard."""
        if not (len(self.parts) == len(self.key_ends) == len(self.key_hashes) == samples):
            return False
        ends = self.parts[:, :3].astype(np.uint64) * BLOCK + self.parts[:, 3:]
        steps = np.diff(self.key_ends.astype(np.int64), prepend=0)
        if samples and (int(ends.max()) > size or int(steps.min()) < 1):
            return False
        self.keys.decode()
        return len(self.keys) == keys == (int(self.key_ends[-1]) if samples else 0)

    def without(self, dropped: Sequence[int]) -> Self:
        """Leave samples out."""
        kept = np.setdiff1d(np.arange(len(self)), dropped)
        keys = [self.key(int(index)).encode() for index in kept]
        return type(self)(
            parts=self.parts[kept],
            key_ends=np.cumsum([len(key) for key in keys], dtype=np.uint32),
            key_hashes=self.key_hashes[kept],
            keys=b"".join(keys),
            refused=self.refused,
        )


def _row(group: Group) -> tuple[int, ...] | None:
    """The numbers of a sample; None when they are too large for 32 bits."""
    parts = [group.image, group.members.get("txt"), group.members.get("json")]
    present = [part or MISSING for part in parts]
    row = (*(part.offset // BLOCK for part in present), *(part.size for part in present))
    return row if max(row) < 1 << 32 else None


def _hash(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST).digest()
