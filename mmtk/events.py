"""What happens in a run, as plugins hear of it. This module imports nothing heavy.

Events come on the first rank alone, in the process of ``mmtk run``, and behind what they tell of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunStarted:
    """A run has begun.

    Attributes:
        name: the recipe's.
        folder: the run's.
        stages: by name, in the order in which they run.
        recipe: the resolved recipe's file.
    """

    name: str
    folder: Path
    stages: tuple[str, ...]
    recipe: Path


@dataclass(frozen=True)
class RunEnded:
    """A run has ended: ``done``, ``failed`` or ``interrupted``, after ``seconds``."""

    name: str
    folder: Path
    outcome: str
    seconds: float


@dataclass(frozen=True)
class StageStarted:
    """A stage begins to work, or goes on; stages that are skipped have no events."""

    stage: str
    use: str
    folder: Path


@dataclass(frozen=True)
class StageEnded:
    """A stage has ended: ``done``, ``failed`` or ``interrupted``; ``message`` says why it failed."""

    stage: str
    folder: Path
    outcome: str
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class StepEnded:
    """A training step is done; ``step`` counts from 1, ``figures`` has its losses and norms."""

    stage: str
    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class EpochEnded:
    """The last step of an epoch is done; ``epoch`` counts from 1."""

    stage: str
    epoch: int
    step: int


@dataclass(frozen=True)
class MetricsLogged:
    """Figures were logged: their means since they last were, as the recipe's loggers get them."""

    stage: str
    folder: Path
    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class CheckpointSaved:
    """A state from which training can go on was saved in the stage's ``folder``, after ``step`` steps."""

    stage: str
    folder: Path
    step: int


HOOKS: Mapping[type, str] = {
    RunStarted: "mmtk_run_started",
    RunEnded: "mmtk_run_ended",
    StageStarted: "mmtk_stage_started",
    StageEnded: "mmtk_stage_ended",
    StepEnded: "mmtk_step_ended",
    EpochEnded: "mmtk_epoch_ended",
    MetricsLogged: "mmtk_metrics_logged",
    CheckpointSaved: "mmtk_checkpoint_saved",
}


@dataclass(frozen=True)
class Listener:
    """A plugin's implementation of a hook.

    Attributes:
        plugin: the plugin in words, with its distribution and version.
        call: returns a list of its answers.
    """

    plugin: str
    call: Callable[..., list[object]]


class Listeners:
    """The implementations of hooks by the plugins that work, in the order of the plugins' names.

    One that raises is named once and not called again in this process; the run goes on.
    """

    def __init__(self, by_hook: Mapping[str, tuple[Listener, ...]] | None = None) -> None:
        self._by_hook = dict(by_hook or {})
        self.say: Callable[[str], None] = print

    def __reduce__(self) -> tuple[object, ...]:
        return Listeners, ()  # a worker process has its own run's events told by the first one

    def tell(self, event: object) -> None:
        """Let every listener know of an event."""
        self.ask(HOOKS[type(event)], event=event)

    def ask(self, hook: str, **arguments: object) -> list[object]:
        """Call a hook of every plugin; return what they return, without those that fail."""
        answers: list[object] = []
        for listener in self._by_hook.get(hook, ()):
            try:
                answers += listener.call(**arguments)
            except Exception as error:  # any fault of a plugin's
                self._leave_out(hook, listener, error)
        return answers

    def _leave_out(self, hook: str, listener: Listener, error: Exception) -> None:
        self._by_hook[hook] = tuple(one for one in self._by_hook[hook] if one is not listener)
        first = (str(error).strip().splitlines() or [""])[0]
        self.say(
            f"{listener.plugin} failed in its hook {hook}, which is not called again: "
            f"{type(error).__name__}{f': {first}' if first else ''}"
        )
