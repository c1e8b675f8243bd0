"""The training states of a stage on disk: written whole, checked when read, the last few kept."""

from __future__ import annotations

import json
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint import CheckpointException

from mmtk.distributed.collectives import gather_objects, rank
from mmtk.distributed.spread import Spread
from mmtk.engine.configs import SavingConfig
from mmtk.engine.folders import whole_folder
from mmtk.engine.manifest import damage, write_manifest
from mmtk.engine.position import FIRST, START, Origin, Place
from mmtk.engine.training_state import (
    TrainingState,
    ensure_optimizer_state,
    learner_tensors,
    put_state,
    sharded_tensors,
    take_state,
)
from mmtk.engine.weights import read_weights, save_tensors
from mmtk.errors import CheckpointError, StageError
from mmtk.types import Quarantined

# Of one rank it says that there is one.
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)

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
        self._writing: _Writing | None = None

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
        if rank() > 0:
            return

        def write() -> None:
            self._write(target, progress, state)

        if self._saving.asynchronous:
            self._writing = _Writing(write)
        else:
            _told(write, target)

    def wait(self) -> None:
        """Wait until a state that is being written in the background is whole. Raises as ``save``."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            _told(writing.finish, self._folder)

    def load(self) -> Progress | None:
        """Load the newest whole state into its place; None when there is none.

        A damaged one is named, set aside and passed over.

        Raises CheckpointError when all are damaged, or when it is of another model.
        """
        found = self._newest_whole() if rank() == 0 else None
        newest: Path | None = gather_objects(found)[0]
        if newest is None:
            return None
        try:
            progress = Progress.from_json((newest / _PROGRESS).read_text("utf-8"))
            self._put(newest, progress.numbers)
        except (CheckpointError, ValueError, KeyError, TypeError, CheckpointException) as error:
            raise CheckpointError(
                f"the training state in {newest} can't be used; delete {self._folder} to train this stage "
                f"from its start. {error}"
            ) from error
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

    def _put(self, folder: Path, numbers: Mapping[str, Any]) -> None:
        if (folder / _WEIGHTS).exists():
            put_state(self._spread, TrainingState(read_weights(folder / _WEIGHTS), dict(numbers)))
            return
        if not self._spread.sharded_saving:
            raise CheckpointError("it was saved in shards (saving.form), which this strategy can't read")
        import torch.distributed.checkpoint as dcp

        saved = dcp.FileSystemReader(str(folder / _SHARDS)).read_metadata().state_dict_metadata
        ensure_optimizer_state(self._spread)
        tensors, _ = sharded_tensors(self._spread)
        if differences := [name for name in saved if name not in tensors]:
            raise CheckpointError(f"it has {', '.join(differences[:3])}, which the model has not")
        tensors = {name: one for name, one in tensors.items() if name in saved or name.startswith("learner.")}
        dcp.load(tensors, checkpoint_id=str(folder / _SHARDS))

    def _write(self, target: Path, progress: Progress, state: TrainingState) -> None:
        with whole_folder(target) as partial:
            save_tensors(state.tensors, partial / _WEIGHTS)
            _write_progress(partial, progress, state.numbers)
        self._prune()

    def _save_sharded(self, target: Path, progress: Progress) -> None:
        import torch.distributed.checkpoint as dcp

        tensors, numbers = sharded_tensors(self._spread)
        partial = target.with_name(f".{target.name}.shards")
        if rank() == 0:
            shutil.rmtree(partial, ignore_errors=True)
        _told(lambda: dcp.save(tensors, checkpoint_id=str(partial)), target)
        if rank() == 0:
            with whole_folder(target) as whole:
                partial.rename(whole / _SHARDS)
                _write_progress(whole, progress, numbers)
            self._prune()

    def _newest_whole(self) -> Path | None:
        for leftover in self._folder.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)
        states = self._states()
        for state in reversed(states):
            problem = damage(state)
            if problem is None:
                return state
            aside = state.with_name(f"{_DAMAGED}{state.name}")
            shutil.rmtree(aside, ignore_errors=True)
            state.rename(aside)
            self._say(
                f"the state {state.name} is damaged and passed over: {problem}; it lies in {aside.name}"
            )
        if states:
            raise CheckpointError(
                f"none of the {len(states)} training states in {self._folder} is whole; delete the folder to "
                "train this stage from its start"
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

    def _states(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_PREFIX}*"))


class _Writing:
    """A state on its way to the disk, in a thread of its own."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(write,), name="mmtk-save")
        self._thread.start()

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


def _write_progress(folder: Path, progress: Progress, numbers: Mapping[str, Any]) -> None:
    plain = asdict(progress) | {"numbers": numbers}
    (folder / _PROGRESS).write_text(json.dumps(plain), "utf-8")
    write_manifest(folder)


def _told(write: Callable[[], None], target: Path) -> None:
    """Write, with a failure of the disk as one message."""
    try:
        write()
    except OSError as error:
        free = shutil.disk_usage(_existing(target)).free
        raise StageError(
            f"the training state can't be saved in {target}: {error.strerror or error} "
            f"({free / 2**20:,.0f} MiB are free there); the states that were saved before are whole, "
            "and the same command goes on from the newest"
        ) from error


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
