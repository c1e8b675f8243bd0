"""What happens in a run, as plugins hear of it. This module imports nothing heavy.

Events come on the first rank alone, in the process of ``mmtk run``, and behind what they tell of.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtk.printable import printable_lines


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
    """An implementation of a hook, by a plugin or by a component of the stage that runs.

    Attributes:
        who: the plugin in words, with its distribution and version, or the component.
        call: returns a list of its answers.
        required: whether what it does is part of the stage's result, so that its failure is the stage's.
    """

    who: str
    call: Callable[..., list[object]]
    required: bool = False


def _say_beside(text: str) -> None:
    """Say something where no run has a better place: the standard output may be for programs."""
    print(f"mmtk: {printable_lines(text)}", file=sys.stderr)


def _as_it_is(answer: Any) -> Any:
    return answer


class Listeners:
    """The implementations of hooks by the plugins that work, in the order of the plugins' names.

    One that raises is named once and not called again in this process; the run goes on.
    """

    def __init__(self, by_hook: Mapping[str, tuple[Listener, ...]] | None = None) -> None:
        self._by_hook = dict(by_hook or {})
        self.say: Callable[[str], None] = _say_beside

    def __reduce__(self) -> tuple[object, ...]:
        return Listeners, ()  # a worker process has its own run's events told by the first one

    @contextlib.contextmanager
    def joined_by(self, components: Sequence[tuple[str, Listener]]) -> Iterator[None]:
        """Within, let components of a stage hear too, before the plugins; each comes with its hook's name."""
        for hook, listener in reversed(components):
            self._by_hook[hook] = (listener, *self._by_hook.get(hook, ()))
        try:
            yield
        finally:
            for hook, listener in components:
                self._without(hook, listener)

    def hears(self, kind: type) -> bool:
        """Whether anyone listens to events of ``kind``, so that those of every step cost nothing else."""
        return bool(self._by_hook.get(HOOKS[kind]))

    def tell(self, event: object) -> None:
        """Let every listener know of an event."""
        self._call(HOOKS[type(event)], {"event": event}, _as_it_is)

    def ask(
        self, hook: str, read: Callable[[Any], Any] = _as_it_is, /, **arguments: object
    ) -> list[tuple[str, Any]]:
        """Call a hook of every listener; return who answers and what, without those that fail.

        Args:
            hook: its name.
            read: makes of an answer what is returned; where that fails, the listener has.
            arguments: the hook's.
        """
        with contextlib.redirect_stdout(sys.stderr):  # what it prints beside its answer is no output
            return self._call(hook, arguments, read)

    def _call(
        self, hook: str, arguments: Mapping[str, object], read: Callable[[Any], Any]
    ) -> list[tuple[str, Any]]:
        answers: list[tuple[str, Any]] = []
        for listener in self._by_hook.get(hook, ()):
            try:
                answers += [(listener.who, read(answer)) for answer in listener.call(**arguments)]
            except (
                Exception,
                SystemExit,
            ) as error:  # any fault of a plugin's, which may not end a run either
                if listener.required:
                    raise
                self._without(hook, listener)
                self._blame(listener.who, f"in its hook {hook}, which is not called again", error)
        return answers

    def attempt(self, who: str, what: str, call: Callable[[], None]) -> None:
        """Let a listener do what is no hook, such as closing; its failure is named and stops nothing."""
        try:
            call()
        except (Exception, SystemExit) as error:  # as in a hook
            self._blame(who, what, error)

    def _without(self, hook: str, listener: Listener) -> None:
        self._by_hook[hook] = tuple(one for one in self._by_hook[hook] if one is not listener)

    def _blame(self, who: str, what: str, error: BaseException) -> None:
        first = (str(error).strip().splitlines() or [""])[0]
        self.say(f"{who} failed {what}: {type(error).__name__}{f': {first}' if first else ''}")
