"""Parts on a Ray cluster, whose workers may die and come back."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmtk.api import PartWork, StageError

_SIGN = ".ray"
_SECONDS_TO_ANSWER = 10.0


class Ray:
    """Works on parts in actors of a Ray cluster. Takes the fields of ``RayConfig``."""

    def __init__(
        self,
        *,
        address: str | None,
        workers: int | None,
        cpus_per_worker: int,
        gpus_per_worker: float | None,
        tries: int,
        patience: float,
    ) -> None:
        """Raises StageError when Ray is not installed."""
        try:
            from mmtk_capfilt.executors import ray_pool
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
            raise StageError("executor 'ray' needs the library ray: pip install 'mmtk[ray]'") from error
        self._pool = ray_pool
        self._address = address
        self._workers = workers
        self._cpus = cpus_per_worker
        self._gpus = gpus_per_worker
        self._limits = ray_pool.Limits(tries, patience)

    def __call__(self, work: PartWork, parts: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Raises StageError when no worker comes up or sees the run's folder, or a part kills each one."""
        if work.device.startswith("cuda:"):
            raise StageError(
                f"executor 'ray' gives each worker a GPU of its own: device can't be {work.device}, use cuda"
            )
        gpus = float(work.device == "cuda") if self._gpus is None else self._gpus
        with _connected(self._address), _signed(work.folder) as sign:
            crew = self._pool.Crew(work, sign, self._workers, self._cpus, gpus)
            yield from self._pool.Pool(crew, parts, self._limits).run()


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Join a cluster, or start one that ends with this process; a connection that is there is used."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS", "local")
    try:
        _try_port(address)
        with _keeping_sigterm():
            ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        what = "start a cluster" if address == "local" else f"join the cluster '{address}'"
        # Ray says this in its log alone, and itself takes no token to an address that it is given.
        hint = "; does it want a token (RAY_AUTH_MODE=token)?" if type(error) is ConnectionError else ""
        raise StageError(f"executor 'ray' can't {what}: {error}{hint}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _try_port(address: str) -> None:
    """Raises OSError when nobody answers at HOST:PORT; Ray itself would try it for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()


@contextlib.contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Put back the handler of SIGTERM, which ``ray.init`` replaces in the main thread."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _signed(folder: Path) -> Iterator[tuple[Path, str]]:
    """Leave a sign in the folder, by which a worker sees that its folder is this one."""
    path, word = folder / _SIGN, uuid.uuid4().hex
    path.write_text(word, encoding="utf-8")
    try:
        yield path, word
    finally:
        path.unlink(missing_ok=True)
