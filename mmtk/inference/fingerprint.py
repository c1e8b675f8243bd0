"""What tells one checkpoint from another."""

from __future__ import annotations

import hashlib
from pathlib import Path


def fingerprint_of(checkpoint: Path) -> str:
    """Return 64 hexadecimal digits that depend on the content of the folder's files alone."""
    digest = hashlib.sha256()
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(checkpoint).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()
