"""``mmtk run`` where no file may grow beyond a limit: one message, and nothing half-written."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill_runs import STAGE, prepare

LIMIT = 120 * 1024  # bytes: less than the small model's weights take, more than a log file does
SAVINGS = {"whole": "{}", "asynchronous": "{asynchronous: true}", "sharded": "{form: sharded}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    prepare(folder)
    return folder


def fail(folder: Path, *arguments: str, ranks: int = 1) -> str:
    """Run in ``folder`` until the limit ends it, and return what it said in the end, which must be a line."""
    command = [sys.executable, "-m", "mmtk", "run", "killed.yaml", "run_dir=base", *arguments]
    run = subprocess.run(
        [*command, "stages.train.data.workers=0", "--nproc", str(ranks)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT)),
        timeout=100,
    )
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    return line


def full(error: str, where: Path) -> bool:
    there = re.escape(str(where))
    return re.search(rf"{there}: File too large \([\d,]+ MiB are free there\)", error) is not None


@pytest.mark.parametrize(
    ("saving", "ranks"),
    [
        *((saving, 1) for saving in SAVINGS),
        ("sharded", 2),
        *(pytest.param(saving, 2, marks=pytest.mark.slow) for saving in ("whole", "asynchronous")),
    ],
)
def test_a_state_that_can_not_be_written_is_one_message(folder: Path, saving: str, ranks: int) -> None:
    error = fail(folder, f"stages.train.saving={SAVINGS[saving]}", ranks=ranks)
    resume = folder / "base" / STAGE / "resume"
    assert error.startswith("mmtk: stage 'train': the training state can't be saved in "), error
    assert full(error, resume), error
    assert list(resume.iterdir()) == []


def test_a_learner_that_can_not_be_written_is_one_message(folder: Path) -> None:
    error = fail(folder, "stages.train.max_steps=1")
    stage = folder / "base" / STAGE
    assert error.startswith("mmtk: stage 'train' can't write in "), error
    assert full(error, stage), error
    assert not [path for path in stage.iterdir() if "checkpoint" in path.name]


def test_shards_that_can_not_be_written_are_one_message(folder: Path) -> None:
    error = fail(folder, "run_dir=other")
    assert error.startswith("mmtk: stage 'emoji' can't write in "), error
    assert full(error, folder / "other" / "emoji"), error
    assert list((folder / "other" / "emoji" / "human_train").iterdir()) == []
