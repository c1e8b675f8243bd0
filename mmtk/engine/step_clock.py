"""Where the time of training goes, by named sections of its steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any, Protocol, Self

import torch

REST = "rest"


class Stamps(Protocol):
    """Marks on a time line."""

    def now(self) -> Any:
        """Return a new mark."""

    def passed(self, mark: Any) -> bool:
        """Whether the time line has reached a mark."""

    def seconds(self, start: Any, end: Any) -> float:
        """Return the time between two marks that have passed."""

    def wait(self) -> None:
        """Wait until all marks have passed."""


class HostStamps:
    """The host's own time."""

    def now(self) -> float:
        return time.perf_counter()

    def passed(self, mark: float) -> bool:  # noqa: ARG002
        return True

    def seconds(self, start: float, end: float) -> float:
        return end - start

    def wait(self) -> None:
        return None


class CudaStamps:
    """The time of a device's current CUDA stream, by events in it: nothing waits for the device.

    A stream that has nothing to do reaches a mark when the host sets it. So the times between marks add up
    to the whole, and waiting for data counts only as far as the device ran dry.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def passed(self, mark: torch.cuda.Event) -> bool:
        return mark.query()

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return start.elapsed_time(end) / 1000

    def wait(self) -> None:
        torch.cuda.current_stream(self._device).synchronize()


def stamps_for(device: str) -> Stamps:
    """Return marks on the time line of what computes on ``device``."""
    return CudaStamps(device) if device.startswith("cuda") else HostStamps()


class StepClock:
    """Adds up the time of sections; within one that is entered in another, only the inner one's time runs.

    ``with clock:`` starts it and makes it the one that ``section`` marks; what is in no section is ``rest``.
    All time in between thus belongs to exactly one section.

    Args:
        stamps: the time line.

    Attributes:
        traced: whether sections are also told to torch's profiler.
    """

    def __init__(self, stamps: Stamps | None = None) -> None:
        self._stamps = stamps or HostStamps()
        self._marks: list[tuple[Any, str]] = []  # each with the section that runs from there on
        self._running = REST
        self._seconds: dict[str, float] = {}
        self._steps = 0
        self._token: Token[StepClock | None] | None = None
        self.traced = False

    def __enter__(self) -> Self:
        self._token = _clock.set(self)
        self._mark(REST)
        return self

    def __exit__(self, *_: object) -> None:
        self._mark(REST)
        if self._token is not None:
            _clock.reset(self._token)

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Count the time within to ``name``."""
        outer = self._running
        self._mark(name)
        try:
            with torch.profiler.record_function(name) if self.traced else contextlib.nullcontext():
                yield
        finally:
            self._mark(outer)

    def step(self) -> None:
        """Count a step, and add up what has passed."""
        self._steps += 1
        self._add_up()

    def state(self) -> dict[str, Any]:
        """What it has counted, as JSON: ``steps`` and the ``seconds`` of each section."""
        return {"steps": self._steps, "seconds": dict(self._seconds)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from another clock's ``state``; an empty one is a clock's that has not run."""
        self._steps = state.get("steps", 0)
        self._seconds = dict(state.get("seconds", {}))

    def finish(self) -> dict[str, Any]:
        """Wait for the last mark and return the final ``state``."""
        self._stamps.wait()
        self._add_up()
        return self.state()

    def _mark(self, name: str) -> None:
        self._running = name
        self._marks.append((self._stamps.now(), name))

    def _add_up(self) -> None:
        """Turn marks that have passed into seconds; the last of them starts what comes next."""
        done = 0
        for (start, name), (end, _) in zip(self._marks, self._marks[1:], strict=False):
            if not self._stamps.passed(end):
                break
            self._seconds[name] = self._seconds.get(name, 0.0) + self._stamps.seconds(start, end)
            done += 1
        del self._marks[:done]


_clock: ContextVar[StepClock | None] = ContextVar("clock", default=None)


def section(name: str) -> AbstractContextManager[None]:
    """Count the time of a ``with`` block to ``name``, where a clock runs; threads of their own have none.

    The engine marks a step's parts with it. Models and heads may mark theirs: ``forward/…`` is shown with the
    forward pass.
    """
    clock = _clock.get()
    return contextlib.nullcontext() if clock is None else clock.section(name)
