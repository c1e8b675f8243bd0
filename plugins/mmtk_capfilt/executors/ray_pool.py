"""Workers of a Ray cluster and the parts that they work on."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from mmtk.api import PartWork, StageError

_SECONDS_PER_LOOK = 2.0  # how often the cluster is looked at for workers that it could have
_LONGEST_REASON = 300


class Limits(NamedTuple):
    """When to give up: after so many workers in a row that died of a part, or seconds without a worker."""

    tries: int
    patience: float


class PartWorker:
    """What runs in a worker's process."""

    _do: Callable[[int], Any]

    def open(self, work: PartWork, sign: tuple[Path, str], threads: int) -> None:
        """Load what the work needs. Raises StageError when the run's folder can't be seen from here."""
        path, word = sign
        try:
            seen = path.read_text(encoding="utf-8") == word
        except OSError:
            seen = False
        if not seen:
            raise StageError(
                f"a worker on {socket.gethostname()} doesn't see the run's folder, {path.parent}: it must "
                "lie on a file system that all nodes of the cluster have under this path"
            )
        import torch

        torch.set_num_threads(threads)
        self._do = work.open()

    def do(self, part: int) -> Any:
        """Do a part."""
        return self._do(part)


@dataclass(frozen=True)
class Crew:
    """Workers as they are asked of the cluster.

    Attributes:
        work: what they work on.
        sign: a file that they must see, and what is in it.
        size: how many; None for as many as the cluster's nodes have room for.
        cpus: cores of each one, and the threads with which it computes.
        gpus: of each one; may be a fraction.
    """

    work: PartWork
    sign: tuple[Path, str]
    size: int | None
    cpus: int
    gpus: float

    def hire(self) -> tuple[Any, Future[None]]:
        """Ask the cluster for a worker; return it and what is done when it has opened the work."""
        # Without restarts: who has died is replaced here, where it is known what each one was doing.
        kind = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0)(PartWorker)
        worker: Any = kind.remote()
        return worker, worker.open.remote(self.work, self.sign, self.cpus).future()

    def wanted(self) -> int:
        """How many workers there should be now. The cluster may grow and shrink."""
        return sum(map(self._room, _nodes())) if self.size is None else self.size

    def missing_room(self) -> str:
        """Say that the cluster hasn't room, and what it has."""
        nodes = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in _nodes())
        return (
            f"a worker of executor 'ray' needs {self.cpus} CPUs and {self.gpus:g} GPUs, and the cluster's "
            f"nodes have {nodes or 'left'}; see cpus_per_worker and gpus_per_worker"
        )

    def _room(self, node: dict[str, float]) -> int:
        by_gpus = node.get("GPU", 0) // self.gpus if self.gpus else float("inf")
        return int(min(node.get("CPU", 0) // self.cpus, by_gpus))


def _nodes() -> list[dict[str, float]]:
    """The resources of each living node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class _Task(NamedTuple):
    worker: Any
    part: int | None  # None while it opens the work


class Pool:
    """Gives parts to workers as these come up, and to others when these die.

    Args:
        crew: the workers to ask for.
        parts: what they are to do.
        limits: when to give up.
    """

    def __init__(self, crew: Crew, parts: Sequence[int], limits: Limits) -> None:
        self._crew = crew
        self._limits = limits
        self._waiting = deque(parts)
        self._idle: list[Any] = []
        self._tasks: dict[Future[Any], _Task] = {}
        self._deaths: Counter[int | None] = Counter()
        self._looked = -_SECONDS_PER_LOOK
        self._seen_worker = time.monotonic()

    def run(self) -> Iterator[tuple[int, Any]]:
        """Yield each part and its result when it is done.

        Raises StageError when the limits are reached, and what the work raises.
        """
        if not self._crew.wanted():
            raise StageError(
                f"{self._crew.missing_room()}; where nodes are added on demand, say how many 'workers'"
            )
        try:
            while self._waiting or any(task.part is not None for task in self._tasks.values()):
                self._hire()
                self._assign()
                yield from self._settle()
                self._check_patience()
        finally:
            for worker in [*self._idle, *(task.worker for task in self._tasks.values())]:
                ray.kill(worker)

    def _hire(self) -> None:
        """Ask for workers that are missing, now and then."""
        now = time.monotonic()
        if now - self._looked < _SECONDS_PER_LOOK:
            return
        self._looked = now
        at_work = sum(task.part is not None for task in self._tasks.values())
        wanted = min(self._crew.wanted(), len(self._waiting) + at_work)
        for _ in range(wanted - len(self._idle) - len(self._tasks)):
            worker, opened = self._crew.hire()
            self._tasks[opened] = _Task(worker, None)

    def _assign(self) -> None:
        while self._waiting and self._idle:
            worker, part = self._idle.pop(), self._waiting.popleft()
            self._tasks[worker.do.remote(part).future()] = _Task(worker, part)

    def _settle(self) -> Iterator[tuple[int, Any]]:
        """Take what has come about in the next seconds."""
        if not self._tasks:
            time.sleep(_SECONDS_PER_LOOK)
            return
        # Not ray.wait, which makes a KeyboardInterrupt of what any signal's handler raises.
        done, _ = wait(self._tasks, _SECONDS_PER_LOOK, FIRST_COMPLETED)
        for each in done:
            task = self._tasks.pop(each)
            try:
                result = each.result()
            except RayTaskError as error:
                ray.kill(task.worker)
                raise error.cause from error
            except RayError as error:
                self._replace(task, error)
                continue
            self._deaths[task.part] = 0
            self._idle.append(task.worker)
            if task.part is not None:
                yield task.part, result

    def _replace(self, task: _Task, error: RayError) -> None:
        """Have another worker do what this one was doing, later than what hasn't been tried."""
        ray.kill(task.worker)  # it may be cut off and alive
        self._looked = -_SECONDS_PER_LOOK
        self._deaths[task.part] += 1
        if task.part is not None:
            self._waiting.append(task.part)
        if self._deaths[task.part] < self._limits.tries:
            return
        what = "opened the work" if task.part is None else f"worked on part {task.part}"
        raise StageError(
            f"{self._limits.tries} workers of executor 'ray' in a row have died while they {what}: "
            f"{_reason(error)}. Finished parts stay, the same command goes on"
        )

    def _check_patience(self) -> None:
        now = time.monotonic()
        if self._idle or any(task.part is not None for task in self._tasks.values()):
            self._seen_worker = now
        elif now - self._seen_worker > self._limits.patience:
            raise StageError(
                f"no worker has come up for {self._limits.patience:g} seconds: {self._crew.missing_room()}"
            )


def _reason(error: RayError) -> str:
    """What Ray says of a death, without its advice."""
    text = str(error).strip().splitlines()[-1].partition(" Some common causes include:")[0]
    return text[:_LONGEST_REASON].rstrip(".")
