from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mmtk.stages.context import Output
from mmtk.stages.plan import Action, decide, missing_outputs, move_aside
from mmtk.stages.record import RECORD_FILE, StageRecord, Status, write_record

OUTPUTS = {"checkpoint": Output("checkpoint", "checkpoint"), "metrics": Output("metrics", "metrics.jsonl")}
WANTED = StageRecord(Status.RUNNING, "a" * 64, {"use": "train", "epochs": 3}, seed=0, started="12:00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "pretrain"
    (path / "checkpoint").mkdir(parents=True)
    (path / "metrics.jsonl").touch()
    return path


def leave(folder: Path, status: Status, **keys: object) -> None:
    write_record(folder, dataclasses.replace(WANTED, status=status, finished="12:05", **keys))  # type: ignore[arg-type]


def test_nothing_there_yet(tmp_path: Path) -> None:
    assert decide(tmp_path / "new", WANTED, OUTPUTS).action is Action.RUN
    (tmp_path / "new").mkdir()
    assert decide(tmp_path / "new", WANTED, OUTPUTS).action is Action.RUN


def test_done_and_whole_is_skipped(folder: Path) -> None:
    leave(folder, Status.DONE)
    decision = decide(folder, WANTED, OUTPUTS)
    assert decision.action is Action.SKIP
    assert "already done" in decision.reasons[0]


def test_a_lost_output_runs_again(folder: Path) -> None:
    leave(folder, Status.DONE)
    (folder / "metrics.jsonl").unlink()
    decision = decide(folder, WANTED, OUTPUTS)
    assert decision.action is Action.RUN
    assert "lost 'metrics' (metrics.jsonl)" in decision.reasons[0]


@pytest.mark.parametrize(
    ("status", "word"),
    [(Status.RUNNING, "was killed"), (Status.INTERRUPTED, "interrupted"), (Status.FAILED, "failed")],
)
def test_an_unfinished_try_is_gone_on_with(folder: Path, status: Status, word: str) -> None:
    leave(folder, status)
    decision = decide(folder, WANTED, OUTPUTS)
    assert decision.action is Action.RUN
    assert word in decision.reasons[0]


@pytest.mark.parametrize("status", list(Status))
def test_a_changed_stage_is_superseded_and_says_why(folder: Path, status: Status) -> None:
    leave(folder, status, fingerprint="b" * 64, node={"use": "train", "epochs": 5})
    decision = decide(folder, WANTED, OUTPUTS)
    assert decision.action is Action.SUPERSEDE
    assert decision.reasons == ("epochs: 5 -> 3",)


def test_a_folder_without_a_record_is_superseded(folder: Path) -> None:
    assert decide(folder, WANTED, OUTPUTS).action is Action.SUPERSEDE
    (folder / RECORD_FILE).write_text("{")
    assert "no readable stage.json" in decide(folder, WANTED, OUTPUTS).reasons[0]


def test_missing_outputs(folder: Path) -> None:
    assert missing_outputs(folder, OUTPUTS) == []
    (folder / "checkpoint").rmdir()
    assert missing_outputs(folder, OUTPUTS) == ["'checkpoint' (checkpoint)"]


def test_moving_aside_never_overwrites(folder: Path) -> None:
    run_dir = folder.parent
    places = []
    for number in range(3):
        folder.mkdir(exist_ok=True)
        (folder / "number").write_text(str(number))
        leave(folder, Status.DONE)
        places.append(move_aside(folder, run_dir))
    assert [place.name for place in places] == [f"pretrain-{'a' * 8}{end}" for end in ("", "-2", "-3")]
    assert [(place / "number").read_text() for place in places] == ["0", "1", "2"]
    assert all(place.parent == run_dir / ".superseded" for place in places)
    assert not folder.exists()


def test_moving_aside_a_folder_without_a_record(folder: Path) -> None:
    assert move_aside(folder, folder.parent).name == "pretrain-unknown"
