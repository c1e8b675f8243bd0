from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from mmtk.api import hookimpl
from mmtk.data.configs import SourceConfig
from mmtk.engine.configs import SavingConfig
from mmtk.engine.loggers import JsonLines
from mmtk.engine.saved_states import Progress, SavedStates
from mmtk.engine.train import TrainStage
from mmtk.engine.trainer import Trainer
from mmtk.engine.weights import read_weights, save_tensors
from mmtk.errors import CheckpointError, StageError
from mmtk.events import (
    HOOKS,
    CheckpointSaved,
    EpochEnded,
    Listener,
    Listeners,
    MetricsLogged,
    StepEnded,
)
from mmtk.registry import Registry
from mmtk.stages.context import StageContext
from mmtk.stages.interrupt import Interrupted
from tests.host.engine.tiny import ColourReader, ColourStream, NamingHead, TinyModel, part, train_fields

PLAN = "41 parameters, 12 steps: an epoch is 24 samples in 4 steps"
ROOT = Path(__file__).parents[3]


class Killed(BaseException):
    """Stands for the end of the process."""


def run(folder: Path, seed: int = 5, listeners: Listeners | None = None, **changed: Any) -> list[str]:
    """Run the stage in ``folder`` and return what it said, but for the table of times."""
    said: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(listeners=listeners)  # training reads no checkpoint that has to be rebuilt
    TrainStage(**train_fields(**changed)).run(
        StageContext("pretrain", folder, seed, "cpu", registry, said.append)
    )
    times = next((i for i, line in enumerate(said) if line.startswith("time by section")), len(said))
    rows = sum(line.startswith("  ") for line in said)
    return said[:times] + said[times + 1 + rows :]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(folder / "checkpoint" / "weights.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_times(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    timed = {"samples_per_second", "data_wait"}
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make the head raise in the given call, once."""
    calls = 0
    forward = NamingHead.forward

    def dying(self: NamingHead, context: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == step:
            raise Killed
        return forward(self, context)

    monkeypatch.setattr(NamingHead, "forward", dying)


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("through")
    run(folder)
    return folder


def test_outputs(through: Path) -> None:
    assert sorted(path.name for path in through.iterdir()) == [
        "checkpoint",
        "metrics.jsonl",
        "quarantine.jsonl",
        "timing.json",
    ]
    assert sorted(path.name for path in (through / "checkpoint").iterdir()) == [
        "learner.json",
        "weights.safetensors",
    ]
    kept = json.loads((through / "checkpoint" / "learner.json").read_text())
    assert (kept["image_transform"], kept["text_transform"]) == ({"use": "pixels"}, {"use": "as_is"})
    assert (through / "quarantine.jsonl").read_text() == ""
    assert not any("momentum" in name or "twin" in name for name in weights(through))


def test_plugins_hear_of_steps_epochs_figures_and_states(tmp_path: Path, through: Path) -> None:
    events: list[Any] = []

    def note(event: Any) -> list[object]:
        events.append(event)
        return []

    run(tmp_path, listeners=Listeners({hook: (Listener("a test", note),) for hook in HOOKS.values()}))
    of_type = {kind: [one for one in events if isinstance(one, kind)] for kind in HOOKS}
    steps = of_type[StepEnded]
    assert [one.step for one in steps] == list(range(1, len(steps) + 1))
    assert all("loss" in one.figures for one in steps)
    assert [one.epoch for one in of_type[EpochEnded]] == list(range(1, len(of_type[EpochEnded]) + 1))
    assert {one.step for one in of_type[CheckpointSaved]} >= {one.step for one in of_type[EpochEnded]}
    logged = [{"step": one.step, **one.figures} for one in of_type[MetricsLogged]]
    assert without_times(logged) == without_times(metrics(through))
    assert weights(tmp_path).keys() == weights(through).keys()


class Unsteady:
    """A logger that fails at a step, and when it is closed. It hears of epochs as well."""

    def __init__(self, *, folder: Path, events: list[Any], required: bool = False) -> None:
        assert folder.is_dir()
        self.required = required
        self._events = events

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        if step == 6:
            raise ConnectionError(f"no network at step {step}")
        self._events.append((step, dict(figures)))

    @hookimpl
    def mmtk_epoch_ended(self, event: EpochEnded) -> None:
        self._events.append(event.epoch)

    def close(self) -> None:
        self._events.append("closed")
        raise ConnectionError("no network")


def loggers(**options: Any) -> dict[str, Any]:
    return {
        "net": part("logger", "unsteady", Unsteady, **options),
        "jsonl": part("logger", "jsonl", JsonLines),
    }


def test_a_logger_that_fails_is_named_and_left_out(tmp_path: Path, through: Path) -> None:
    events: list[Any] = []
    listeners = Listeners()
    said: list[str] = []
    listeners.say = said.append
    run(tmp_path, listeners=listeners, loggers=loggers(events=events))
    lines = metrics(tmp_path)
    assert without_times(lines) == without_times(metrics(through))
    first = dict(lines[0])
    assert events == [(first.pop("step"), first), 1, 2, 3, "closed"]
    assert said == [
        "logger 'net' failed in its hook mmtk_metrics_logged, which is not called again: "
        "ConnectionError: no network at step 6",
        "logger 'net' failed when it was closed: ConnectionError: no network",
    ]


def test_a_logger_that_writes_an_output_ends_the_stage_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="no network"):
        run(tmp_path, loggers=loggers(events=[], required=True))
    assert JsonLines.required, "metrics.jsonl is an output of the stage"


def test_metrics(through: Path) -> None:
    lines = metrics(through)
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    assert [line["epoch"] for line in lines] == [0.75, 1.5, 2.25, 3.0]
    assert set(lines[0]) == {
        "step",
        "epoch",
        "loss",
        "loss/naming",
        "loss/noisy",
        "naming/accuracy",
        "gradient_norm",
        "lr",
        "samples_per_second",
        "data_wait",
    }
    assert lines[-1]["loss/naming"] < lines[0]["loss/naming"]
    assert all(line["samples_per_second"] > 0 and 0 <= line["data_wait"] <= 1 for line in lines)


def test_same_seed_same_weights_other_seed_other_weights(through: Path, tmp_path: Path) -> None:
    run(tmp_path / "again")
    run(tmp_path / "other", seed=6)
    assert same(weights(through), weights(tmp_path / "again"))
    assert not same(weights(through), weights(tmp_path / "other"))


@pytest.mark.parametrize(("killed_at", "goes_on_after"), [(3, None), (4, None), (6, 4), (12, 8)])
def test_killed_run_ends_with_the_same_bits(
    through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int, goes_on_after: int | None
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, killed_at)
        with pytest.raises(Killed):
            run(tmp_path)
    assert not (tmp_path / "checkpoint").exists()

    said = run(tmp_path)
    expected = [] if goes_on_after is None else [f"going on after step {goes_on_after} of 12"]
    assert said == [PLAN, *expected]
    assert same(weights(through), weights(tmp_path))
    assert without_times(metrics(tmp_path)) == without_times(metrics(through))
    assert not (tmp_path / "resume").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_run_goes_on_in_the_middle_of_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def changed(workers: int) -> dict[str, Any]:
        stream = part("stream", "colours", ColourStream, broken=9)
        source = SourceConfig(stream=stream, samples=24, shuffle_buffer=5)
        data = dataclasses.replace(train_fields()["data"], sources={"web": source}, workers=workers)
        return {"data": data, "save_every": 3, "log_every": 100}

    run(tmp_path / "through", **changed(0))
    with monkeypatch.context() as patch:
        kill_at(patch, 8)
        with pytest.raises(Killed):
            run(tmp_path / "killed", **changed(workers))
    assert "going on after step 6 of 12" in run(tmp_path / "killed", **changed(workers))
    assert same(weights(tmp_path / "through"), weights(tmp_path / "killed"))
    listed = [(tmp_path / name / "quarantine.jsonl").read_text() for name in ("through", "killed")]
    assert '"sample9"' in listed[0]
    assert listed[0] == listed[1]


def test_saves_inside_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "through", save_every=5, log_every=100)
    with monkeypatch.context() as patch:
        kill_at(patch, 7)
        with pytest.raises(Killed):
            run(tmp_path / "killed", save_every=5, log_every=100)
    assert run(tmp_path / "killed", save_every=5, log_every=100)[1:] == ["going on after step 5 of 12"]
    assert same(weights(tmp_path / "through"), weights(tmp_path / "killed"))
    lines = without_times(metrics(tmp_path / "killed"))
    assert [line["step"] for line in lines] == [12]
    assert lines == without_times(metrics(tmp_path / "through"))


def test_killed_after_the_last_step(through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("mmtk.engine.train.save_learner", dying)
        with pytest.raises(Killed):
            run(tmp_path)
    assert run(tmp_path) == [PLAN, "going on after step 12 of 12"]
    assert same(weights(through), weights(tmp_path))


def test_quarantine_is_written_and_survives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = train_fields()["data"]
    broken = part("reader", "colours", ColourReader, broken=7)
    data = dataclasses.replace(data, sources={"web": SourceConfig(reader=broken)})
    saved: list[int] = []
    save = SavedStates.save

    def counting(self: SavedStates, progress: Progress) -> None:
        saved.append(len(progress.quarantined))
        save(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(SavedStates, "save", counting)
        kill_at(patch, 12)
        with pytest.raises(Killed):
            run(tmp_path, data=data)
    assert saved == [1, 1]
    assert "sample7" in (tmp_path / "quarantine.jsonl").read_text()  # noted at once, before the stage ends
    said = run(tmp_path, data=data)
    assert said[-1] == "1 sample quarantined, see quarantine.jsonl"
    (line,) = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "sample7"


@pytest.mark.parametrize(("size", "steps"), [(7, "(3 left over) in 3 steps"), (24, "in 1 step")])
def test_left_over_samples_are_told(tmp_path: Path, size: int, steps: str) -> None:
    data = dataclasses.replace(train_fields()["data"], batch_size=size)
    assert run(tmp_path, data=data)[0].endswith(f"an epoch is 24 samples {steps}")


def test_max_steps(tmp_path: Path) -> None:
    run(tmp_path, max_steps=5)
    assert [line["step"] for line in metrics(tmp_path)] == [3, 5]


def test_max_steps_beyond_the_epochs(through: Path, tmp_path: Path) -> None:
    run(tmp_path, max_steps=1000)
    assert same(weights(through), weights(tmp_path))


def test_without_momentum(tmp_path: Path) -> None:
    run(tmp_path, momentum=None, epochs=1)
    assert metrics(tmp_path)[-1]["step"] == 4


def test_non_finite_losses_are_skipped_noted_and_stop_the_stage_in_the_end(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"step 4: .*head 'naming' gave (nan|inf)"):
        run(
            tmp_path,
            max_nonfinite=2,
            optimizer=part(
                "optimizer",
                "sgd",
                lambda: lambda named: torch.optim.SGD([parameter for _, parameter in named], lr=1e30),
            ),
            schedule=part("schedule", "c", lambda: lambda *_: 1.0),
        )
    assert not (tmp_path / "checkpoint").exists()
    noted = [json.loads(line) for line in (tmp_path / "nonfinite.jsonl").read_text().splitlines()]
    assert [line["step"] for line in noted] == [2, 3, 4]
    assert len(noted[0]["keys"]) == 6
    assert noted[0]["figures"]["loss/naming"] in ("nan", "inf")


def test_two_stages_of_one_model_start_alike(tmp_path: Path) -> None:
    frozen: dict[str, Any] = {"schedule": part("schedule", "off", lambda: lambda *_: 0.0), "epochs": 1}
    run(tmp_path / "one", **frozen)
    run(tmp_path / "two", heads={"naming": part("head", "naming", NamingHead)}, **frozen)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_init_takes_over_what_fits(through: Path, tmp_path: Path) -> None:
    said = run(
        tmp_path,
        init=through / "checkpoint",
        heads={
            "naming": part("head", "naming", NamingHead),
            "naming_too": part("head", "naming", NamingHead),
        },
        schedule=part("schedule", "off", lambda: lambda *_: 0.0),
        epochs=1,
    )
    assert len(said) == 2
    assert said[0].startswith(f"from {through / 'checkpoint'}: ")
    assert "1 left over (heads.noisy.scale)" in said[0]
    assert "1 missing, which keep their random values (heads.naming_too.bias)" in said[0]
    before, after = weights(through), weights(tmp_path)
    taken_over = before.keys() & after.keys() - {
        "model.temperature"
    }  # which the model clamps before each step
    assert len(taken_over) == 5
    assert all(torch.equal(before[name], after[name]) for name in taken_over)


def test_init_reports_other_shapes(through: Path, tmp_path: Path) -> None:
    said = run(
        tmp_path, init=through / "checkpoint", model=part("model", "tiny", TinyModel, width=3), epochs=1
    )
    assert "of another shape (model.image.weight (4, 3) for (3, 3)" in said[0]


def test_init_from_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        run(tmp_path / "run", init=tmp_path)


def test_init_from_something_else_entirely(through: Path, tmp_path: Path) -> None:
    class Other(TinyModel):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TinyModel()
            del self.image, self.text, self.text_again, self.temperature

    with pytest.raises(CheckpointError, match="nothing in this checkpoint fits the model"):
        run(tmp_path, init=through / "checkpoint", model=part("model", "other", Other), heads={})


CHILD = """
import sys, time
from pathlib import Path
import mmtk.engine.trainer as trainer
from tests.host.engine.test_train import run

step = trainer.Trainer.step
def slow(self, batch, number):
    time.sleep(0.05)
    return step(self, batch, number)
trainer.Trainer.step = slow
run(Path(sys.argv[1]), epochs=20, save_every=3)
"""


def test_kill_9_and_resume_give_the_same_bits(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(killed)], env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(killed.glob("resume/step-*")):
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert list(killed.glob("resume/step-*"))
    assert not (killed / "checkpoint").exists()

    said = run(killed, epochs=20, save_every=3)
    assert "going on after step" in said[1]
    run(tmp_path / "through", epochs=20, save_every=3)
    assert same(weights(killed), weights(tmp_path / "through"))
    assert without_times(metrics(killed)) == without_times(metrics(tmp_path / "through"))


ACCUMULATED = (
    "41 parameters, 6 steps: an epoch is 24 samples in 2 steps, 4 batches by 3 a step, the last one of 1"
)


def test_accumulation_ends_an_epoch_with_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []
    step = Trainer.step
    with monkeypatch.context() as patch:
        patch.setattr(
            Trainer,
            "step",
            lambda self, batches, number: sizes.append([*map(len, batches)]) or step(self, batches, number),
        )
        assert run(tmp_path, accumulate=3) == [ACCUMULATED]
    assert sizes == [[6, 6, 6], [6]] * 3
    assert [line["epoch"] for line in metrics(tmp_path)] == [1.5, 3.0]


def test_accumulating_run_that_was_killed_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "through", accumulate=3, save_every=3)
    with monkeypatch.context() as patch:
        kill_at(patch, 8 + 4)  # in the second batch of the second epoch's last step
        with pytest.raises(Killed):
            run(tmp_path / "killed", accumulate=3, save_every=3)
    said = run(tmp_path / "killed", accumulate=3, save_every=3)
    assert said == [ACCUMULATED, "going on after step 4 of 6"]
    assert same(weights(tmp_path / "through"), weights(tmp_path / "killed"))
    assert without_times(metrics(tmp_path / "killed")) == without_times(metrics(tmp_path / "through"))


@pytest.mark.parametrize("saving", [{"asynchronous": True}, {"form": "sharded"}, {"best_by": "loss"}])
def test_however_states_are_saved_a_killed_run_ends_with_the_same_bits(
    through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saving: dict[str, Any]
) -> None:
    kept = SavingConfig(**saving)
    with monkeypatch.context() as patch:
        kill_at(patch, 10)
        with pytest.raises(Killed):
            run(tmp_path, saving=kept)
    assert run(tmp_path, saving=kept) == [PLAN, "going on after step 8 of 12"]
    assert same(weights(through), weights(tmp_path))
    assert without_times(metrics(tmp_path)) == without_times(metrics(through))


def test_an_error_waits_for_the_state_that_is_being_written_and_ends_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())

    def slowly(*arguments: Any) -> None:
        time.sleep(0.5)
        save_tensors(*arguments)

    monkeypatch.setattr("mmtk.engine.saved_states.save_tensors", slowly)
    kill_at(monkeypatch, 6)
    data = dataclasses.replace(train_fields()["data"], workers=2)
    with pytest.raises(Killed) as caught:
        run(tmp_path, data=data, save_every=5, saving=SavingConfig(asynchronous=True))
    assert caught.tb is not None  # whoever keeps the error keeps the loop's variables
    assert [thread.name for thread in set(threading.enumerate()) - before] == []
    assert [path.name for path in (tmp_path / "resume").glob("*5")] == ["step-0000000005"]


@pytest.mark.parametrize("steps", [12, 6], ids=["whole epochs", "ends between two states"])
def test_the_best_learner_is_a_checkpoint_beside_the_last_one(tmp_path: Path, steps: int) -> None:
    rising = part(
        "schedule", "r", lambda: lambda step, *_: 0.2 if step < 4 else 40.0
    )  # it diverges behind epoch 1
    kept = SavingConfig(best_by="loss", keep_last=1)
    run(tmp_path / "best", saving=kept, schedule=rising, max_steps=steps)
    run(tmp_path / "first", schedule=rising, max_steps=4)
    best = read_weights(tmp_path / "best" / "best" / "weights.safetensors")
    assert same(best, weights(tmp_path / "first"))
    assert not same(best, weights(tmp_path / "best"))
    assert (tmp_path / "best" / "best" / "learner.json").exists()


def test_a_misspelt_best_figure_is_named_and_no_step_lost(through: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        run(tmp_path, saving=SavingConfig(best_by="loss/namign"))
    assert "saving.best_by: there is no figure 'loss/namign'; did you mean 'loss/naming'?" in str(
        caught.value
    )
    assert "there are: data_wait, epoch, gradient_norm, loss, loss/naming, loss/noisy" in str(caught.value)
    said = run(tmp_path, saving=SavingConfig(best_by="loss/naming"))
    assert said == [PLAN, "going on after step 4 of 12"]
    assert same(weights(through), weights(tmp_path))


def test_a_signal_saves_and_stops_after_the_step(
    through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = NamingHead.forward

    def signalled(self: NamingHead, context: Any) -> Any:
        if context.state.step == 5:
            signal.raise_signal(signal.SIGTERM)
        return forward(self, context)

    with monkeypatch.context() as patch:
        patch.setattr(NamingHead, "forward", signalled)
        with pytest.raises(Interrupted) as caught:
            run(tmp_path)
    assert (caught.value.exit_code, caught.value.saved) == (75, True)
    assert run(tmp_path) == [PLAN, "going on after step 6 of 12"]
    assert same(weights(through), weights(tmp_path))
    assert without_times(metrics(tmp_path)) == without_times(metrics(through))


def test_a_second_interrupt_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def signalled(_self: NamingHead, _context: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a launcher's, behind the first
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr(NamingHead, "forward", signalled)
    with pytest.raises(Interrupted) as caught:
        run(tmp_path)
    assert (caught.value.exit_code, caught.value.saved) == (130, False)
