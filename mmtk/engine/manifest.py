"""Checksums of a folder's files, by which a damaged one is told from a whole one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Note size and BLAKE2 checksum of every file in ``folder``, in its ``manifest.json``."""
    entries = {
        str(file.relative_to(folder)): {"bytes": file.stat().st_size, "blake2b": _checksum(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    (folder / MANIFEST).write_text(json.dumps(entries, indent=1), "utf-8")


def damage(folder: Path) -> str | None:
    """Say what is wrong with a folder that has a manifest; None when all of it is as it was written."""
    try:
        entries = dict(json.loads((folder / MANIFEST).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return f"{MANIFEST} is missing or damaged"
    for name, entry in entries.items():
        file = folder / name
        try:
            if not file.is_file():
                return f"{name} is missing"
            size = file.stat().st_size
            if size != entry["bytes"]:
                return f"{name} has {size:,} bytes instead of {entry['bytes']:,}"
            if _checksum(file) != entry["blake2b"]:
                return f"{name} has another checksum"
        except (OSError, KeyError, TypeError) as error:
            return f"{name} can't be read ({error})"
    return None if entries else f"{MANIFEST} is empty"


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
