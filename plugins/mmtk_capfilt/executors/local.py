"""Parts on this machine, in this process or in several."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import resource_tracker
from typing import Any

from mmtk.api import PartWork, StageError

_work: PartWork  # what a worker process works on


class Local:
    """Works on parts in ``workers`` processes; with one of them, in this process.

    How many threads each of them computes with doesn't depend on how many parts are left: the last bits of
    scores may depend on it.
    """

    def __init__(self, *, workers: int, threads: int | None) -> None:
        self._workers = workers
        self._threads = threads

    def __call__(self, work: PartWork, parts: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Raises StageError when a worker process is killed; finished parts stay."""
        if self._workers == 1:
            with _computing_with(self._threads):
                do = work.open()
                for part in parts:
                    yield part, do(part)
            return
        _track_silently()
        with ProcessPoolExecutor(
            min(self._workers, len(parts)),
            multiprocessing.get_context("spawn"),
            _start,
            (work, self._threads_of_each()),
        ) as pool:
            try:
                with _interrupting_this_process_alone():
                    futures = {pool.submit(_do_part, part): part for part in parts}
                yield from _as_done(futures)
            except BrokenProcessPool as error:
                raise StageError(
                    "a worker process of executor 'local' was killed (out of memory?) or couldn't start; "
                    "with fewer workers each has more memory. Finished parts stay, the same command goes on"
                ) from error
            except BaseException:
                # What they are at leaves nothing behind, and to wait for whole parts may take hours.
                for worker in multiprocessing.active_children():
                    worker.kill()
                    worker.join()
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _threads_of_each(self) -> int | None:
        """None where the environment says it already."""
        if self._threads is None and "OMP_NUM_THREADS" in os.environ:
            return None
        return self._threads or max((os.cpu_count() or 1) // self._workers, 1)


@contextlib.contextmanager
def _interrupting_this_process_alone() -> Iterator[None]:
    """Start processes that Ctrl-C doesn't reach, also while they still import: this one tells them to end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _track_silently() -> None:
    """Start Python's tracker of semaphores, which clears away those of a killed worker, without its warning.

    The user gets a message of the executor's already.
    """
    option = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(option)  # it starts with those of this process
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(option)


@contextlib.contextmanager
def _computing_with(threads: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _as_done(futures: dict[Future[Any], int]) -> Iterator[tuple[int, Any]]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda one: futures[one]):
            yield futures[future], future.result()


def _start(work: PartWork, threads: int | None) -> None:
    """Prepare a worker process: it lets the main process deal with signals, and ends with it."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        torch.set_num_threads(threads)
    global _work
    _work = work


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do_part(part: int) -> Any:
    return _opened()(part)


@cache
def _opened() -> Callable[[int], Any]:
    return _work.open()  # here and not at the start, so that an error becomes the part's result
