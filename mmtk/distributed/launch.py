"""Starting the ranks of a run on this machine, by torchrun's own launcher."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

EXIT_NOTES = "MMTK_EXIT_NOTES"  # the folder in which the ranks note how they ended
_SECONDS_TO_SAVE = 600  # torchrun's 30 seconds are too few for a large model's state


class ExitNote(NamedTuple):
    """How a rank ended: its exit code, and when, in seconds since the epoch."""

    code: int
    time: float


def launch(ranks: int, command: Sequence[str]) -> int:
    """Run ``mmtk COMMAND`` in ``ranks`` processes on this machine and return the run's exit code.

    That is the code of the rank that failed first, which has printed its message; 1 where a rank was killed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # the ranks speak for themselves
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SECONDS_TO_SAVE))
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // ranks, 1)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"mmtk-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle="SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
    )
    with _exit_notes() as notes:
        try:
            elastic_launch(config, sys.executable)("-m", "mmtk", *command)
        except ChildFailedError:
            return _first_failure(notes, ranks)
        except SignalException as stopped:
            return _first_failure(notes, ranks, default=128 + int(stopped.sigval))
    return 0


def note_exit(rank: int, code: int) -> None:
    """Let the launcher know how this rank ends, where ``launch`` has started it."""
    if folder := os.environ.get(EXIT_NOTES):
        with contextlib.suppress(OSError):
            Path(folder, str(rank)).write_text(json.dumps(ExitNote(code, time.time())), "utf-8")


@contextlib.contextmanager
def _exit_notes() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mmtk-") as folder:
        os.environ[EXIT_NOTES] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[EXIT_NOTES]


def _first_failure(notes: Path, ranks: int, default: int = 1) -> int:
    found = [ExitNote(*json.loads(path.read_text("utf-8"))) for path in notes.iterdir()]
    failed = sorted((note.time, note.code) for note in found if note.code)
    if not failed:
        return default
    killed = ranks - len(found)
    if killed:
        print(f"mmtk: {killed} of {ranks} ranks were killed without a message", file=sys.stderr)
    return failed[0][1]
