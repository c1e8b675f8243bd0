"""Writing WebDataset shards: whole or not at all, and byte for byte the same for the same samples."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tarfile
from collections.abc import Container
from pathlib import Path
from types import TracebackType
from typing import Self

from mmtk.data.readers.addresses import INDEX_SUFFIX
from mmtk.errors import DataError
from mmtk.types import RawSample

SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"BM"), "bmp"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "tif"),
)
IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})


def image_extension(data: bytes) -> str:
    """Return the file name extension that fits an encoded image. Raises DataError when none does."""
    for signature, extension in SIGNATURES:
        if signature.match(data):
            return extension
    raise DataError(f"not an image file: starts with {data[:8]!r}")


class TarShard:
    """One shard that is written sample by sample and appears under its name when it is whole.

    A sample becomes ``KEY.EXT`` (the image's bytes as they are), ``KEY.txt`` (one text per line) and
    ``KEY.json`` (``image_id`` and ``source``). Nothing else is stored: equal samples give equal bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._tar = tarfile.open(self._partial, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._keys: set[str] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def write(self, sample: RawSample) -> None:
        """Append a sample. Raises DataError if its key is taken or can't name a file, or it has no image."""
        extension = check_sample(sample, self._keys)
        facts = {"image_id": sample.image_id, "source": sample.source}
        # A text is one line of the .txt member, so its own line breaks become spaces.
        text = "\n".join(" ".join(text.split()) for text in sample.texts)
        self._keys.add(sample.key)
        self._add(f"{sample.key}.{extension}", sample.image)
        self._add(f"{sample.key}.txt", text.encode())
        self._add(f"{sample.key}.json", json.dumps(facts, ensure_ascii=False, sort_keys=True).encode())

    def finish(self) -> None:
        """Put the bytes on the disk and give the shard its name."""
        self._tar.close()
        with self._partial.open("rb") as file:
            os.fsync(file.fileno())
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):  # a full disk has no room for the shard's end either
            self._tar.close()
        self._partial.unlink(missing_ok=True)

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, the names of owner and group empty
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))


def check_sample(sample: RawSample, taken: Container[str]) -> str:
    """Return the file name extension of a sample that can be written to a shard.

    Raises DataError if its key is taken or can't name a file, or it has no image.
    """
    name = sample.key.rpartition("/")[2]
    if not name or "." in name or any(part in ("", ".", "..") for part in sample.key.split("/")):
        raise DataError(f"{sample.key!r} can't be a key in a shard: its last part must have no dot")
    if sample.key in taken:
        raise DataError(f"two samples with the key {sample.key!r}")
    return image_extension(sample.image)


class ShardWriter:
    """Writes samples into ``PREFIX-NNNNNN.tar`` shards that the ``webdataset`` reader reads back.

    Shards of the same prefix that an earlier run left in ``folder`` are removed first, with their index
    files.

    Use as a context manager; when its block raises, the unfinished shard is discarded.

    Attributes:
        shards: the finished shards, in order.
        samples: how many samples were written.
    """

    def __init__(self, folder: Path, prefix: str, samples_per_shard: int = 1000) -> None:
        if samples_per_shard < 1:
            raise DataError(f"samples_per_shard must be at least 1, not {samples_per_shard}")
        if not re.fullmatch(r"[^\s/.*?\[\]{}][^\s/*?\[\]{}]*", prefix):
            raise DataError(f"{prefix!r} can't be the prefix of shard names: no spaces, '/' or wildcards")
        self.folder = folder
        self.prefix = prefix
        self.samples_per_shard = samples_per_shard
        self.shards: list[Path] = []
        self.samples = 0
        self._keys: set[str] = set()
        self._open: TarShard | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        own = re.compile(rf"{re.escape(self.prefix)}-\d{{6}}\.tar")
        for path in self.folder.iterdir():
            if own.fullmatch(path.name.removeprefix(".").removesuffix(".partial").removesuffix(INDEX_SUFFIX)):
                path.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is None:
            return
        if kind is None:
            self._finish(self._open)
            return
        self._open.discard()
        self._open = None

    def write(self, sample: RawSample) -> None:
        """Append a sample. Raises DataError if its key is taken or can't name a file, or it has no image."""
        check_sample(sample, self._keys)
        if self._open is None:
            self._open = TarShard(self.folder / f"{self.prefix}-{len(self.shards):06d}.tar")
        self._open.write(sample)
        self._keys.add(sample.key)
        self.samples += 1
        if len(self._open) == self.samples_per_shard:
            self._finish(self._open)

    def _finish(self, shard: TarShard) -> None:
        self._open = None
        shard.finish()
        self.shards.append(shard.path)
