"""Starting the ranks of a run on this machine, by torchrun's own launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mmtk.distributed.launcher import ExitNote, exit_notes, read_notes
from mmtk.stages.interrupt import STOP_SIGNALS, Interrupted, heeded_signals, leave_closed_terminal

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import ProcessFailure

_SECONDS_TO_SAVE = 600  # torchrun's 30 seconds are too few for a large model's state


def launch(ranks: int, command: Sequence[str]) -> tuple[int, str]:
    """Run ``mmtk COMMAND`` in ``ranks`` processes on this machine.

    Returns:
        The run's exit code, and what is left to say of how it ended. The code is that of the rank that failed
        first, 1 where a rank was killed.

    Raises:
        Interrupted: a signal came before any rank could handle it.
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
        signals_to_handle=",".join(one.name for one in (*heeded_signals(), signal.SIGQUIT)),
    )
    with exit_notes() as folder:
        try:
            elastic_launch(config, sys.executable)("-m", "mmtk", *command)
        except ChildFailedError as failed:
            return how_it_failed(read_notes(folder), failed.failures, ranks)
        except SignalException as stopped:
            leave_closed_terminal()
            notes = read_notes(folder)
            for note in _failed(notes):
                return note.code, note.unsaid
            if len(notes) < ranks:
                raise Interrupted(int(stopped.sigval)) from None
    return 0, ""


def how_it_failed(
    notes: Sequence[ExitNote], failures: Mapping[int, ProcessFailure], ranks: int
) -> tuple[int, str]:
    """Find out what has ended a run of which a rank failed.

    Args:
        notes: of the ranks that could leave one, in the order of their ends.
        failures: how the failed processes ended, by rank.
        ranks: how many there were.

    Returns:
        Exit code, and what is left to say.
    """
    failed = _failed(notes)
    if failed and not failed[0].unsaid:
        return failed[0].code, ""
    if killed := _killed_first(failures):
        which = ", ".join(f"rank {rank} by {failures[rank].signal_name()}" for rank in killed)
        verb = "was" if len(killed) == 1 else "were"
        return 1, f"{len(killed)} of {ranks} ranks {verb} killed ({which}); out of memory?"
    if failed:
        return failed[0].code, failed[0].unsaid
    rank, failure = min(failures.items(), key=lambda item: item[1].timestamp)
    return 1, f"rank {rank} of {ranks} ended with exit code {failure.exitcode} and without a message"


def _failed(notes: Sequence[ExitNote]) -> list[ExitNote]:
    """The notes of ranks that failed, first of those that have said why."""
    return sorted((note for note in notes if note.code), key=lambda note: bool(note.unsaid))


def _killed_first(failures: Mapping[int, ProcessFailure]) -> list[int]:
    """The ranks that were killed, without those that the launcher has then killed itself."""
    # A rank that nothing but a request to end has ended wasn't killed.
    died = {
        rank: failure.timestamp
        for rank, failure in failures.items()
        if failure.exitcode < 0 and -failure.exitcode not in STOP_SIGNALS
    }
    # Times are in whole seconds, and torchrun waits for 30 before it kills.
    return sorted(rank for rank, time in died.items() if time <= min(died.values()) + 1)
