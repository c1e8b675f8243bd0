"""A trace of a few steps by torch's profiler, for Chrome's tracing page or Perfetto."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from mmtk.distributed.collectives import rank
from mmtk.engine.configs import ProfileConfig
from mmtk.engine.step_clock import StepClock
from mmtk.report.wording import counted

TRACE = "trace.json.gz"
_NOTHING = "6"


class StepTrace:
    """Traces rank 0's first steps after a warm-up, once in a stage: a trace that is there already stays.

    Args:
        config: which steps; None traces nothing.
        folder: of the stage.
        clock: its sections appear in the trace.
        say: tells the user where the trace is.
    """

    def __init__(
        self, config: ProfileConfig | None, folder: Path, clock: StepClock, say: Callable[[str], None]
    ) -> None:
        self._target = folder / TRACE
        self._clock = clock
        self._say = say
        self._profiler: profile | None = None
        self._done = 0
        self._failed = False
        if config is None or rank() > 0 or self._target.exists():
            return
        self._warmup, self._last = config.warmup, config.warmup + config.steps
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        else:
            os.environ.setdefault("KINETO_LOG_LEVEL", _NOTHING)  # or it complains that there is no GPU
        self._profiler = profile(
            activities=activities,
            schedule=schedule(wait=0, warmup=config.warmup, active=config.steps, repeat=1),
            on_trace_ready=self._write,
        )

    def __enter__(self) -> Self:
        if self._profiler is not None:
            self._clock.traced = True
            self._profiler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(failed=error is not None)

    def step(self) -> None:
        """Say that a step is done."""
        if self._profiler is None:
            return
        self._done += 1
        if self._done == self._last:
            self._stop()
        else:
            self._profiler.step()

    def _stop(self, failed: bool = False) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return
        self._clock.traced = False
        self._failed = failed
        profiler.stop()
        if self._done <= self._warmup and not failed:
            warmup = counted(self._warmup, "step")
            self._say(f"no trace: the stage ended within the {warmup} of profile.warmup")

    def _write(self, profiler: profile) -> None:
        if self._failed or self._done <= self._warmup:
            return  # the next try traces anew
        partial = self._target.with_name(f"partial-{TRACE}")
        profiler.export_chrome_trace(str(partial))
        partial.rename(self._target)
        self._say(
            f"trace of {counted(self._done - self._warmup, 'step')} in {self._target}: open it at "
            "https://ui.perfetto.dev"
        )
