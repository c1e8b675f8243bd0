"""Figures by run and step, in tables that any SQLite client can read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmtk.api import StageError

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    name TEXT PRIMARY KEY, tries INTEGER NOT NULL DEFAULT 1,
    started TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, closed TEXT);
CREATE TABLE IF NOT EXISTS figures (
    run TEXT NOT NULL REFERENCES runs, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (run, step, name)) WITHOUT ROWID;
"""
OPEN = """
INSERT INTO runs (name) VALUES (?)
ON CONFLICT (name) DO UPDATE SET tries = tries + 1, closed = NULL
"""
WAIT_SECONDS = 30.0  # for another run that is writing


class SqliteLogger:
    """A row of ``runs`` for the run, and one of ``figures`` for each figure of a logged step.

    Args:
        folder: the stage's; names the run where ``run`` doesn't.
        database: made where it isn't.
        run: a name; None takes ``folder``.

    Raises:
        StageError: the file can't be opened or written, or is no SQLite file. So do all methods.
    """

    def __init__(self, *, folder: Path, database: Path, run: str | None = None) -> None:
        self._database = database
        self._run = run or str(folder.absolute())
        with self._told():
            self._database.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._database, timeout=WAIT_SECONDS)
            with self._connection:
                self._connection.executescript(TABLES)
                self._connection.execute(OPEN, (self._run,))

    def rewind(self, step: int) -> None:
        """Forget what a killed try logged after ``step``; a run from the start forgets all."""
        with self._told(), self._connection:
            self._connection.execute("DELETE FROM figures WHERE run = ? AND step > ?", (self._run, step))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Store the figures of ``step``; not-a-number is stored as NULL, as SQLite does."""
        rows = [(self._run, step, name, value) for name, value in figures.items()]
        with self._told(), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO figures VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Say when the run ended, and let go of the file."""
        with self._told(), self._connection:
            self._connection.execute(
                "UPDATE runs SET closed = CURRENT_TIMESTAMP WHERE name = ?", (self._run,)
            )
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StageError(f"the logger sqlite can't write {self._database}: {error}") from error
