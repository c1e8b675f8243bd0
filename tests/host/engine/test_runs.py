from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.engine.runs import checkpoints_in
from mmtk.errors import CheckpointError
from mmtk.stages.record import StageRecord, Status, write_record


def stage(run: Path, name: str, finished: str, status: Status = Status.DONE) -> Path:
    checkpoint = run / name / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "learner.json").write_text("{}")
    write_record(run / name, StageRecord(status, "f", {"use": "train"}, 0, finished=finished))
    return checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "mine"
    stage(folder, "b_first", "2026-01")
    stage(folder, "a_second", "2026-02")
    stage(folder, "killed", "", Status.RUNNING)
    (folder / "scores").mkdir()
    write_record(folder / "scores", StageRecord(Status.DONE, "f", {"use": "evaluate"}, 0, finished="2026-03"))
    return folder


def test_a_runs_checkpoints_come_in_the_order_they_were_finished(run: Path) -> None:
    assert list(checkpoints_in(run).items()) == [
        ("b_first", run / "b_first" / "checkpoint"), ("a_second", run / "a_second" / "checkpoint")
    ]  # fmt: skip
    assert checkpoints_in(run, "b_first") == {"b_first": run / "b_first" / "checkpoint"}


def test_a_checkpoint_itself(run: Path) -> None:
    folder = run / "killed" / "checkpoint"
    assert checkpoints_in(folder) == {"": folder}
    with pytest.raises(CheckpointError, match="a checkpoint, and no run with a stage 'x'"):
        checkpoints_in(folder, "x")


def test_what_is_no_checkpoint(run: Path) -> None:
    with pytest.raises(CheckpointError, match="of a stage 'killed'; there are: b_first, a_second"):
        checkpoints_in(run, "killed")
    with pytest.raises(CheckpointError, match=r"did you mean '.*runs/mine'\?"):
        checkpoints_in(run.with_name("mime"))
    with pytest.raises(CheckpointError, match=r"no such folder; expected a run's folder or a checkpoint's$"):
        checkpoints_in(run / "nowhere" / "at_all")
    with pytest.raises(CheckpointError, match=r"no checkpoint here.*mmtk import turns"):
        checkpoints_in(run / "scores")
    with pytest.raises(CheckpointError, match=r"a stage's folder; expected its run's, .*mine, or its check"):
        checkpoints_in(run / "a_second")
    with pytest.raises(CheckpointError, match=r"a file; .*mmtk import turns"):
        checkpoints_in(run / "scores" / "stage.json")
