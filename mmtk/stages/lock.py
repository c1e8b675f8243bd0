"""One run per folder: a lock that the operating system lets go of when its process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mmtk.errors import StageError

LOCK_FILE = ".lock"


@contextlib.contextmanager
def run_lock(run_dir: Path) -> Iterator[str | None]:
    """Hold ``run_dir`` for this process.

    A record lock (``lockf``) is not inherited by forked data workers, so it ends with the process that runs
    the stages even where a worker outlives it.

    Yields:
        Who held the folder before and died without letting go of it; None after an orderly end.

    Raises:
        StageError: another living process runs in this folder, or it can't be made or written to.
    """
    with _open(run_dir) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise StageError(
                f"{run_dir} is in use by another 'mmtk run' ({_holder(file) or 'it has just started'});"
                " wait for it, stop it, or give this run its own folder with run_dir=FOLDER"
            ) from None
        holder = _holder(file)
        _write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}\n")
        try:
            yield holder or None
        finally:
            _write(file.fileno(), "")


def _open(run_dir: Path) -> IO[str]:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        return (run_dir / LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise StageError(f"{run_dir} can't be the run's folder: {error.strerror}") from error


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, text.encode())
