"""The tables after runs that end, are killed, start anew and write at one time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mmtk_sqlite_logger.logger import SqliteLogger

from mmtk.api import StageError


def read(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "shared" / "figures.sqlite"


def test_figures_are_there_as_soon_as_they_are_logged(tmp_path: Path, database: Path) -> None:
    logger = SqliteLogger(folder=tmp_path / "train", database=database)
    logger.rewind(0)
    logger.log(1, {"loss": 2.5, "lr": 0.125})
    logger.log(2, {"loss": float("nan")})
    run = str(tmp_path / "train")
    assert read(database, "SELECT * FROM figures") == [
        (run, 1, "loss", 2.5),
        (run, 1, "lr", 0.125),
        (run, 2, "loss", None),
    ]
    assert read(database, "SELECT name, tries, closed FROM runs") == [(run, 1, None)]
    logger.close()
    assert read(database, "SELECT count(*) FROM runs WHERE closed >= started") == [(1,)]


def test_a_resumed_run_forgets_what_the_killed_one_logged_in_vain(tmp_path: Path, database: Path) -> None:
    keys: dict[str, Any] = {"folder": tmp_path, "database": database}
    other = SqliteLogger(**keys, run="other")
    other.log(9, {"loss": 9.0})
    killed = SqliteLogger(**keys, run="mine")
    for step in range(1, 6):
        killed.log(step, {"loss": float(step)})
    resumed = SqliteLogger(**keys, run="mine")
    resumed.rewind(3)
    resumed.log(4, {"loss": 40.0})
    mine = read(database, "SELECT step, value FROM figures WHERE run = 'mine' ORDER BY step")
    assert mine == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]
    assert read(database, "SELECT name, tries FROM runs ORDER BY name") == [("mine", 2), ("other", 1)]
    SqliteLogger(**keys, run="mine").rewind(0)
    assert read(database, "SELECT run, step FROM figures") == [("other", 9)]


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, but long enough to be looked at " * 20)
    with pytest.raises(StageError, match=r"logger sqlite can't write .*notes\.txt: file is not a database"):
        SqliteLogger(folder=tmp_path, database=tmp_path / "notes.txt")
