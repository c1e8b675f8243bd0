from pathlib import Path

import pytest

from mmtk.report.history import StageTime, stage_times
from mmtk.stages.record import StageRecord, Status, write_record


def record(folder: Path, started: str, finished: str, status: Status = Status.DONE) -> None:
    folder.mkdir()
    write_record(folder, StageRecord(status, "f", {}, 0, started=started, finished=finished))


def test_finished_stages_by_start(tmp_path: Path) -> None:
    record(tmp_path / "a-late", "2026-01-01T10:05:00+00:00", "2026-01-01T10:09:08+00:00")
    record(tmp_path / "b-early", "2026-01-01T10:00:00+00:00", "2026-01-01T10:00:01.500000+00:00")
    record(tmp_path / "failed", "2026-01-01T10:00:00+00:00", "2026-01-01T10:00:01+00:00", Status.FAILED)
    record(tmp_path / "report", "2026-01-01T10:10:00+00:00", "", Status.RUNNING)
    (tmp_path / "no-stage").mkdir()
    assert stage_times(tmp_path, without="report") == [StageTime("b-early", 1.5), StageTime("a-late", 248.0)]


@pytest.mark.parametrize(
    ("started", "finished", "seconds"),
    [
        ("", "", None),
        ("yesterday", "today", None),
        ("2026-01-01T10:00:00", "2026-01-01T10:00:01+00:00", None),
        ("2026-01-01T10:00:05", "2026-01-01T10:00:01", 0.0),
    ],
)
def test_times_that_say_nothing(tmp_path: Path, started: str, finished: str, seconds: float | None) -> None:
    record(tmp_path / "a", started, finished)
    assert stage_times(tmp_path, without="report") == [StageTime("a", seconds)]


def test_a_broken_record_and_the_own_one_are_left_out(tmp_path: Path) -> None:
    record(tmp_path / "report", "2026-01-01T10:00:00", "2026-01-01T10:00:05")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "stage.json").write_text("{")
    assert stage_times(tmp_path, without="report") == []
