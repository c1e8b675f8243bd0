"""Training that was killed, stopped or failed, and goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mmtk.data.configs import SourceConfig
from mmtk.engine.configs import SavingConfig
from mmtk.engine.saved_states import Progress, SavedStates
from mmtk.engine.weights import save_tensors
from mmtk.errors import StageError
from mmtk.stages.interrupt import Interrupted
from tests.host.engine.stage_runs import (
    ACCUMULATED,
    PLAN,
    Killed,
    kill_at,
    metrics,
    run,
    same,
    weights,
    without_times,
)
from tests.host.engine.tiny import ColourReader, ColourStream, NamingHead, part, train_fields

ROOT = Path(__file__).parents[3]


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


CHILD = """
import sys, time
from pathlib import Path
import mmtk.engine.trainer as trainer
from tests.host.engine.stage_runs import run

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
