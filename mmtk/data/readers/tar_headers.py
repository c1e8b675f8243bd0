"""The headers of a tar file, read with bounds: what a file claims never decides how much is read.

Follows POSIX 1003.1 (ustar and pax) and the GNU extensions for long names and large numbers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from mmtk.printable import printable

BLOCK = 512
END = bytes(BLOCK)
CHUNK = 1 << 20
MAX_EXTENDED = 1 << 20  # bytes of a pax or GNU header
MAX_NAME = 4096  # bytes, what systems take for a path
RECORD = re.compile(rb"(\d{1,9}) ")

FILE_TYPES = b"0\x007"
EXTENDED_TYPES = b"xXgLK"
REFUSED_TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
}
WITHOUT_DATA = b"123456"


class Member(NamedTuple):
    """One file in a tar: its sample's key, what follows the key's dot, and where its bytes lie."""

    key: str
    extension: str
    offset: int
    size: int
    refusal: str = ""  # why it must not be read


class NotATarError(Exception):
    """The file doesn't start with a tar header."""


class BrokenOffError(Exception):
    """No header and no end mark where one of them should be."""


class CutOffError(Exception):
    """The file ends within a member, after ``there`` of its bytes."""

    def __init__(self, member: Member, there: int) -> None:
        super().__init__()
        self.member = member
        self.there = there


class Tape:
    """A file that is read forward. ``size`` is None where nobody knows how long it is.

    Attributes:
        position: bytes read or passed over so far.
    """

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self.size = size
        self.position = 0
        self._file = file
        self._seekable = size is not None and file.seekable()

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes, fewer at the end of the file."""
        parts = []
        while size > 0 and (part := self._file.read(min(size, CHUNK))):
            parts.append(part)
            size -= len(part)
            self.position += len(part)
        return b"".join(parts)

    def advance(self, position: int) -> None:
        """Go forward to ``position``, or to the end of the file if that comes first."""
        if self._seekable and position - self.position > BLOCK:
            self._file.seek(position)
            self.position = position
        while self.position < position and self.read(min(position - self.position, CHUNK)):
            pass


@dataclass
class Extension:
    """What pax and GNU headers say of the member that follows them."""

    name: bytes | None = None
    size: int | None = None
    refusal: str = ""


def members(tape: Tape) -> Iterator[Member]:
    """Yield the files of a tar whose names have a key and an extension, and those that are refused.

    The reader of the members may read from the tape in between. Folders and files like ``README`` are passed
    over. Links, devices and sparse files, absolute names and names with ``..`` come with a ``refusal``.

    Raises:
        NotATarError: at once.
        BrokenOffError: behind the last member that is whole.
        CutOffError: the file ends within a member.
    """
    said = Extension()
    while True:
        start = tape.position
        block = tape.read(BLOCK)
        if block == END:
            return
        if len(block) < BLOCK or not _has_checksum(block):
            raise BrokenOffError if start else NotATarError
        kind = block[156:157]
        extends = kind in EXTENDED_TYPES
        size = _size(block) if extends or said.size is None else said.size
        data = start + BLOCK
        following = data + (0 if kind in WITHOUT_DATA else -(-size // BLOCK) * BLOCK)
        if extends:
            _extend(said, kind, tape, size)
        else:
            member = _member(block, kind, data, size, said)
            said = Extension()
            if member is not None:
                if tape.size is not None and not member.refusal and data + size > tape.size:
                    raise CutOffError(member, max(tape.size - data, 0))
                yield member
        tape.advance(following)


def _extend(said: Extension, kind: bytes, tape: Tape, size: int) -> None:
    """Read an extended header into ``said``."""
    if size > MAX_EXTENDED:
        said.refusal = f"its extended header has {size} bytes"
        return
    data = tape.read(size)
    if len(data) < size:
        raise BrokenOffError
    if kind == b"L":
        said.name = data.partition(b"\0")[0]
    elif kind in (b"x", b"X"):
        _read_records(said, data)


def _read_records(said: Extension, data: bytes) -> None:
    """Read pax records, ``LENGTH NAME=VALUE`` and a line feed each."""
    place = 0
    while place < len(data) and data[place]:
        found = RECORD.match(data, place)
        length = int(found[1]) if found else 0
        if found is None or length < 5 or place + length > len(data):
            raise BrokenOffError
        keyword, _, value = data[found.end() : place + length - 1].partition(b"=")
        if keyword == b"path":
            said.name = value
        elif keyword == b"size":
            if not value.isdigit() or len(value) > 18:
                raise BrokenOffError
            said.size = int(value)
        elif keyword.startswith(b"GNU.sparse"):
            said.refusal = "a sparse file"
        place += length


def _member(block: bytes, kind: bytes, data: int, size: int, said: Extension) -> Member | None:
    name = _name(block) if said.name is None else said.name
    refusal = said.refusal or REFUSED_TYPES.get(kind, "")
    if not refusal and kind not in FILE_TYPES:
        refusal = "" if kind == b"5" else "of an unknown type"
    if len(name) > MAX_NAME:
        name, refusal = name[:MAX_NAME], f"its name has {len(name)} bytes"
    # Names need not be UTF-8, but keys must be: ledgers and shards hold them.
    text = printable(name.decode("utf-8", "backslashreplace")).removeprefix("./")
    if (not refusal and kind == b"5") or text.endswith("/"):
        return None
    if text.startswith("/"):
        refusal = refusal or "its name is an absolute path"
    elif ".." in text.split("/"):
        refusal = refusal or "its name has '..'"
    folder, _, last = text.rpartition("/")
    key, _, extension = last.partition(".")
    if not refusal and not (key and extension):
        return None
    if refusal:
        refusal = f"refused member: {text[-100:]}: {refusal}"
        key = key or last or "?"
    return Member(f"{folder}/{key}" if folder else key, extension.lower(), data, size, refusal)


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    # GNU tar keeps other things where POSIX has the prefix.
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _size(block: bytes) -> int:
    size = _number(block[124:136])
    if size is None or size < 0:
        raise BrokenOffError
    return size


def _number(field: bytes) -> int | None:
    """Read a number in octal digits, or in base 256 where the first byte is 0x80 or 0xff (negative)."""
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0x80 else value - 256 ** (len(field) - 1)
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        return None


def _has_checksum(block: bytes) -> bool:
    """Whether the block's checksum is right: the sum of its bytes, with the sum's own field as spaces.

    Some old programs summed signed bytes.
    """
    wanted = _number(block[148:156])
    unsigned = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if wanted == unsigned:
        return True
    return wanted == sum(struct.unpack("512b", block[:148] + b" " * 8 + block[156:]))
