"""How far training is: a live bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmtk.printable import printable_lines

_LINE_SECONDS = 15.0


class Display(Protocol):
    """Shows progress between ``__enter__`` and ``__exit__``."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, step: int, figures: Mapping[str, float]) -> None:
        """Show that ``step`` steps are done; ``figures`` are the newest, ``epoch`` among them."""

    def say(self, text: str) -> None:
        """Print one line without disturbing the display."""


def display(title: str, total_steps: int, start_step: int, say: Callable[[str], None]) -> Display:
    """Return a live display on a terminal and plain lines, by ``say``, elsewhere."""
    console = Console()
    if console.is_terminal:
        return LiveDisplay(title, total_steps, start_step, console)
    return LineDisplay(total_steps, start_step, say)


def describe(figures: Mapping[str, float]) -> str:
    """Say epoch, losses and speed in one short phrase."""
    losses = [
        f"{name.removeprefix('loss/')} {value:.3f}"
        for name, value in figures.items()
        if name.startswith("loss/")
    ]
    parts = [f"epoch {figures['epoch']:.2f}", f"loss {figures['loss']:.3f} ({', '.join(losses)})"]
    if "samples_per_second" in figures:
        parts.append(f"{figures['samples_per_second']:.0f} samples/s")
    if figures.get("data_wait", 0.0) >= 0.05:
        parts.append(f"{figures['data_wait']:.0%} waiting for data")
    if figures.get("overflows"):
        parts.append(f"{figures['overflows']:.0f} overflows")
    if figures.get("quarantined"):
        parts.append(f"{figures['quarantined']:.0f} quarantined")
    return ", ".join(parts)


class LiveDisplay:
    """A bar with the newest figures beside it."""

    def __init__(self, title: str, total_steps: int, start_step: int, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(title, total=total_steps, completed=start_step, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, step: int, figures: Mapping[str, float]) -> None:
        self._progress.update(self._task, completed=step, figures=describe(figures))

    def say(self, text: str) -> None:
        console = self._progress.console
        console.print(printable_lines(text), markup=False, emoji=False, highlight=False)


class LineDisplay:
    """A plain line every fifteen seconds, with the time that is left.

    Args:
        clock: seconds since some fixed time.
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.say = say
        self._total_steps = total_steps
        self._start_step = start_step
        self._clock = clock
        self._started = self._last = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, step: int, figures: Mapping[str, float]) -> None:
        now = self._clock()
        if now - self._last < _LINE_SECONDS or step <= self._start_step:
            return
        self._last = now
        left = (now - self._started) / (step - self._start_step) * (self._total_steps - step)
        minutes, seconds = divmod(round(left), 60)
        done = f"step {step}/{self._total_steps}"
        self.say(f"{done}, {describe(figures)}, {minutes}:{seconds:02d} left")
