"""Where files lie: paths of this machine, and addresses of stores and servers that fsspec reads."""

from __future__ import annotations

import glob
import itertools
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mmtk.errors import DataError

if TYPE_CHECKING:
    import fsspec

BRACES = re.compile(r"\{([^{}]+)\}")
NUMBERS = re.compile(r"(\d+)\.\.(\d+)")
MOST_NAMES = 10_000_000
INDEX_SUFFIX = ".mmtk-index"  # of the files that remember where a shard's samples lie
# What lies beside shards and a pattern may match too: img2dataset's tables, and our own indexes.
SIDECARS = (".parquet", ".json", INDEX_SUFFIX)


def is_remote(address: str | Path) -> bool:
    """Whether fsspec reads it (``s3://…``, ``memory://…``); paths and ``file://`` are read by the system."""
    return "://" in str(address) and not str(address).startswith("file://")


def local_path(address: str | Path) -> Path:
    """The path of an address that isn't remote."""
    return Path(str(address).removeprefix("file://"))


def filesystem(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of a remote address and the path in it.

    Raises DataError when the protocol is unknown or its package is missing.
    """
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise DataError(f"can't read {address}: {error}") from error
    return fs, path


def find_files(paths: Iterable[str | Path], suffix: str = ".tar") -> list[str]:
    """Return the files that folders, files, patterns and addresses of them name, each once, in order.

    A folder names its ``*SUFFIX`` files. Braces are expanded in addresses as in paths. An address without a
    wildcard that ends in ``suffix`` is taken at its word: whether it is there shows when it is read.

    Raises DataError for one that names none.
    """
    found: dict[str, None] = {}
    for path in paths:
        for name in expand_braces(str(path)):
            found |= dict.fromkeys(_remote(name, suffix) if is_remote(name) else _local(name, suffix))
    return list(found)


def find_shards(paths: Iterable[str | Path]) -> list[str]:
    """Return the addresses of the tar shards that ``paths`` name; see ``find_files``."""
    return find_files(paths, ".tar")


def _local(name: str, suffix: str) -> list[str]:
    place = local_path(name)
    if place.is_dir():
        found = sorted(place.glob(f"*{suffix}"))
        if not found:
            raise DataError(f"no *{suffix} {_noun(suffix)} in the folder {place}")
        return [str(path) for path in found]
    if place.exists():
        return [str(place)]
    matches = sorted(glob.glob(str(place)))  # noqa: PTH207 (absolute patterns)
    chosen = [str(Path(match)) for match in matches if _is_meant(match, suffix)]
    if not chosen:
        raise DataError(f"no such file, folder or pattern with a match: {place}")
    return chosen


def _remote(address: str, suffix: str) -> list[str]:
    # A question mark starts the query of a web address and is no wildcard.
    wild = "*" in address or "[" in address
    fs, path = filesystem(address)
    web = address.startswith(("http://", "https://"))
    try:
        if not wild and (path.endswith(suffix) or (web and not address.endswith("/"))):
            return [address]
        if not wild and not fs.isdir(path):
            return [address]
        pattern = path if wild else f"{path.rstrip('/')}/*{suffix}"
        matches = [str(match) for match in sorted(fs.glob(pattern)) if _is_meant(str(match), suffix)]
    except Exception as error:  # every store has error types of its own
        raise DataError(f"can't list {address}: {describe(error)}") from error
    if not matches:
        raise DataError(f"nothing lies at {address}")
    # The part of the address that the path leaves out (protocol, host) stands before what was found.
    inner = path.strip("/")
    if not address.rstrip("/").endswith(inner):
        return [fs.unstrip_protocol(match) for match in matches]
    before = address.rstrip("/").removesuffix(inner)
    return [before + match.lstrip("/") for match in matches]


def _is_meant(match: str, suffix: str) -> bool:
    return suffix != ".tar" or not match.endswith(SIDECARS)


def _noun(suffix: str) -> str:
    return "shards" if suffix == ".tar" else "files"


def expand_braces(pattern: str) -> list[str]:
    """Expand ``{0000..0012}`` (the width is kept) and ``{a,b}`` as a shell does, the leftmost slowest.

    Raises DataError for a pattern of more than ten million names.
    """
    parts = BRACES.split(pattern)
    choices = [_choices(part) if position % 2 else [part] for position, part in enumerate(parts)]
    if math.prod(len(choice) for choice in choices) > MOST_NAMES:
        raise DataError(f"the braces of {pattern} stand for more than {MOST_NAMES:,} names")
    return ["".join(choice) for choice in itertools.product(*choices)]


def _choices(inside: str) -> list[str]:
    numbers = NUMBERS.fullmatch(inside)
    if numbers is None:
        return inside.split(",") if "," in inside else ["{" + inside + "}"]
    first, last = numbers.groups()
    width = len(first) if first.startswith("0") else 0
    if int(last) - int(first) >= MOST_NAMES:
        raise DataError(f"{{{inside}}} stands for more than {MOST_NAMES:,} names")
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]


def describe(error: BaseException) -> str:
    """The first line of an error of a library, or its type where it says nothing."""
    words = getattr(error, "strerror", None) or str(error)
    return str(words).strip().split("\n")[0] or type(error).__name__
