"""A trace of a few steps by torch's profiler, for Chrome's tracing page or Perfetto."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from mmtk.component_hooks import hooks_of
from mmtk.distributed.collectives import rank
from mmtk.engine.configs import ProfileConfig
from mmtk.engine.step_clock import StepClock
from mmtk.events import Listeners
from mmtk.hookspecs import hookimpl
from mmtk.report.wording import counted

TRACE = "trace.json.gz"
_NOTHING = "6"


@contextlib.contextmanager
def traced_steps(
    config: ProfileConfig | None,
    folder: Path,
    clock: StepClock,
    listeners: Listeners,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Within, trace rank 0's first steps after a warm-up, once in a stage: a trace that is there stays.

    Args:
        config: which steps; None traces nothing.
        folder: of the stage.
        clock: its sections appear in the trace.
        listeners: by them the trace hears of steps, and a failure of it stops nothing.
        say: tells the user where the trace is.
    """
    if config is None or rank() > 0 or (folder / TRACE).exists():
        yield
        return
    trace = StepTrace(config, folder / TRACE, clock, say)
    trace.start()
    failed = True
    try:
        with listeners.joined_by(hooks_of(trace, "the profiler")):
            yield
        failed = False
    finally:
        listeners.attempt("the profiler", "when it ended its trace", lambda: trace.stop(failed=failed))


class StepTrace:
    """Traces steps from ``start`` on, and ends by itself when it has those that ``config`` asks for.

    A step that was skipped, because of a figure that isn't finite, is no event: it counts to the next one.
    """

    def __init__(
        self, config: ProfileConfig, target: Path, clock: StepClock, say: Callable[[str], None]
    ) -> None:
        self._target = target
        self._clock = clock
        self._say = say
        self._done = 0
        self._failed = False
        self._warmup, self._last = config.warmup, config.warmup + config.steps
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        else:
            os.environ.setdefault("KINETO_LOG_LEVEL", _NOTHING)  # or it complains that there is no GPU
        self._profiler: profile | None = profile(
            activities=activities,
            schedule=schedule(wait=0, warmup=config.warmup, active=config.steps, repeat=1),
            on_trace_ready=self._write,
        )

    def start(self) -> None:
        """Begin with the next step."""
        assert self._profiler is not None, "a trace is started once"
        self._clock.traced = True
        self._profiler.start()

    @hookimpl
    def mmtk_step_ended(self) -> None:
        """Go on to the next step; behind the last one wanted, stop."""
        if self._profiler is None:
            return
        self._done += 1
        if self._done == self._last:
            self.stop()
        else:
            self._profiler.step()

    def stop(self, failed: bool = False) -> None:
        """End the trace, if it has not ended; one of a stage that ``failed`` is not written."""
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
