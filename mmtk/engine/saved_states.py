"""The training states of a stage on disk: written whole, checked when read, the last few kept."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint import CheckpointException

from mmtk.disk import cause_and_room
from mmtk.distributed.collectives import agreed, gather_objects, rank
from mmtk.distributed.spread import Spread
from mmtk.engine.background import Background
from mmtk.engine.configs import SavingConfig
from mmtk.engine.folders import whole_folder
from mmtk.engine.manifest import damage, write_manifest
from mmtk.engine.position import FIRST, START, Origin, Place
from mmtk.engine.shards import load_shards, save_shards, shard_names
from mmtk.engine.training_state import (
    TrainingState,
    ensure_optimizer_state,
    learner_tensors,
    put_optimizer_state,
    put_state,
    sharded_tensors,
    take_state,
)
from mmtk.engine.weights import read_weights, save_tensors
from mmtk.errors import CheckpointError, StageError
from mmtk.types import Quarantined

_WEIGHTS = "state.safetensors"
_SHARDS = "shards"
_PROGRESS = "progress.json"
_PREFIX, _DAMAGED = "step-", "damaged-"


@dataclass(frozen=True)
class Progress:
    """What a state holds beside tensors.

    Attributes:
        step: optimizer steps done.
        place: which samples come next.
        origin: where the present numbering of batches begins.
        ranks: how many ranks there were.
        global_batch: samples of a batch on all ranks together.
        streams: for each rank, where its streams stand.
        window: figures collected since the last logged line.
        timing: state of ``StepClock``.
        loss_scale: state of ``LossScale``.
        nonfinite: steps in a row, up to this one, that were not finite; and all of them.
        quarantined: samples that could not be used, on any rank.
        best: the figure that says which state is the best; None without one.
        numbers: the optimizer's, as ``TrainingState`` has them.
    """

    step: int
    place: Place = FIRST
    origin: Origin = START
    ranks: int = 1
    global_batch: int = 0
    streams: list[dict[str, Any]] = field(default_factory=list)
    window: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    loss_scale: list[float] = field(default_factory=lambda: [1.0, 0, 0])
    nonfinite: tuple[int, int] = (0, 0)
    quarantined: tuple[Quarantined, ...] = ()
    best: float | None = None
    numbers: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Progress:
        plain = json.loads(text)
        plain["place"], plain["origin"] = Place(*plain["place"]), Origin(*plain["origin"])
        plain["nonfinite"] = tuple(plain["nonfinite"])
        plain["quarantined"] = tuple(Quarantined(**entry) for entry in plain["quarantined"])
        return cls(**plain)


class SavedStates:
    """One subfolder per state. Every rank makes one and makes the same calls.

    Args:
        folder: made when the first state is saved.
        spread: what is saved and loaded into.
        saving: how many are kept, and in which form.
        say: tells the user something.
    """

    def __init__(
        self, folder: Path, spread: Spread, saving: SavingConfig, say: Callable[[str], None] = print
    ) -> None:
        if saving.form == "sharded" and not spread.sharded_saving:
            raise StageError("saving.form: this strategy's states can only be saved whole; use form: whole")
        self._folder = folder
        self._spread = spread
        self._saving = saving
        self._say = say
        self._writing: Background | None = None

    def save(self, progress: Progress) -> None:
        """Write the state after ``progress.step`` steps, then remove those that are not to be kept.

        Raises StageError when there is no room for it, also for an asynchronous one before; older states
        stay.
        """
        self.wait()
        target = self._folder / f"{_PREFIX}{progress.step:010d}"
        if self._saving.form == "sharded":
            self._save_sharded(target, progress)
            return
        state = take_state(self._spread)

        def write() -> None:
            if rank() == 0:
                with self._told():
                    self._write(target, progress, state)

        if self._saving.asynchronous:
            self._writing = Background(write)
        else:
            agreed(write)

    def wait(self) -> None:
        """Wait until a state that is being written in the background is whole. Raises as ``save``."""
        if self._writing is not None:
            agreed(self._writing.finish)
            self._writing = None

    def close(self) -> None:
        """Wait, as this rank alone, until nothing is being written; a failure is said, not raised."""
        if self._writing is not None:
            try:
                self._writing.finish()
            except StageError as error:
                self._say(str(error))
            self._writing = None

    def load(self) -> Progress | None:
        """Load the newest whole state into its place; None when there is none.

        A damaged one is named, set aside and passed over.

        Raises CheckpointError when all are damaged, or when it is of another model.
        """
        found = agreed(lambda: self._newest_whole() if rank() == 0 else None)
        newest: Path | None = gather_objects(found)[0]
        if newest is None:
            return None

        def read() -> tuple[Progress, dict[str, Tensor] | None]:
            with self._usable(newest):
                weights = newest / _WEIGHTS
                progress = Progress.from_json((newest / _PROGRESS).read_text("utf-8"))
                return progress, read_weights(weights) if weights.exists() else None

        def put() -> None:
            with self._usable(newest):
                self._put(newest, progress.numbers, whole)

        progress, whole = agreed(read)
        agreed(put)
        return progress

    def best_learner(self) -> dict[str, Tensor] | None:
        """The learner's tensors in the best state; None where no best one is kept, or it is the newest."""
        states = self._states()
        best = self._best(states)
        if best is None or best == states[-1] or self._saving.form == "sharded":
            return None
        return learner_tensors(read_weights(best / _WEIGHTS))

    def clear(self) -> None:
        """Remove all states."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _put(self, folder: Path, numbers: Mapping[str, Any], whole: dict[str, Tensor] | None) -> None:
        if whole is not None:
            put_state(self._spread, TrainingState(whole, dict(numbers)))
            return
        if not self._spread.sharded_saving:
            raise CheckpointError("it was saved in shards (saving.form), which this strategy can't read")
        saved = shard_names(folder / _SHARDS)
        ensure_optimizer_state(self._spread)
        tensors, _ = sharded_tensors(self._spread)
        if differences := [name for name in saved if name not in tensors]:
            raise CheckpointError(f"it has {', '.join(differences[:3])}, which the model has not")
        tensors = {name: one for name, one in tensors.items() if name in saved or name.startswith("learner.")}
        load_shards(tensors, folder / _SHARDS)
        put_optimizer_state(self._spread, tensors, numbers)

    def _write(self, target: Path, progress: Progress, state: TrainingState) -> None:
        with whole_folder(target) as partial:
            save_tensors(state.tensors, partial / _WEIGHTS)
            _write_progress(partial, progress, state.numbers)
        self._prune()

    def _save_sharded(self, target: Path, progress: Progress) -> None:
        tensors, numbers = sharded_tensors(self._spread)
        partial = target.with_name(f".{target.name}.shards")

        def write() -> None:
            with self._told():
                save_shards(tensors, partial)
                if rank() == 0:
                    with whole_folder(target) as whole:
                        partial.rename(whole / _SHARDS)
                        _write_progress(whole, progress, numbers)
                    self._prune()

        try:
            agreed(write)
        finally:
            if rank() == 0:
                shutil.rmtree(partial, ignore_errors=True)

    def _newest_whole(self) -> Path | None:
        for leftover in self._folder.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for state in reversed(self._states()):
            problem = damage(state)
            if problem is None:
                return state
            aside = state.with_name(f"{_DAMAGED}{state.name}")
            shutil.rmtree(aside, ignore_errors=True)
            state.rename(aside)
            self._say(
                f"the state {state.name} is damaged and passed over: {problem}; it lies in {aside.name}"
            )
        # Also those that an earlier try has set aside: to begin anew is the user's to decide.
        if damaged := list(self._folder.glob(f"{_DAMAGED}*")):
            raise CheckpointError(
                f"none of the {len(damaged)} training states in {self._folder} is whole; delete the folder "
                "to train this stage from its start"
            )
        return None

    def _prune(self) -> None:
        states = self._states()
        keep = {*states[-self._saving.keep_last :], self._best(states)}
        for state in states:
            if state not in keep:
                shutil.rmtree(state)

    def _best(self, states: list[Path]) -> Path | None:
        if self._saving.best_by is None:
            return None
        figures = {}
        for state in states:
            figure = json.loads((state / _PROGRESS).read_text("utf-8"))["best"]
            if figure is not None:
                figures[state] = figure
        return min(figures, key=lambda state: figures[state]) if figures else None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say a failure of the disk in one message."""
        try:
            yield
        except OSError as error:
            cause = cause_and_room(error, self._folder)
            raise StageError(
                f"the training state can't be saved in {self._folder}: {cause}; the states that were saved "
                "before are whole, and the same command goes on from the newest"
            ) from error

    @contextlib.contextmanager
    def _usable(self, state: Path) -> Iterator[None]:
        """Say in one message why a state can't be loaded."""
        try:
            yield
        except (CheckpointError, ValueError, KeyError, TypeError, CheckpointException) as error:
            raise CheckpointError(
                f"the training state in {state} can't be used; delete {self._folder} to train this stage "
                f"from its start. {error}"
            ) from error

    def _states(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_PREFIX}*"))


def _write_progress(folder: Path, progress: Progress, numbers: Mapping[str, Any]) -> None:
    plain = asdict(progress) | {"numbers": numbers}
    (folder / _PROGRESS).write_text(json.dumps(plain), "utf-8")
    write_manifest(folder)
