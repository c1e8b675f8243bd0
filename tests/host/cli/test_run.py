"""``mmtk run`` as a user meets it: real processes, really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RECIPE = """
name: slow
device: cpu
stages:
  quick: {use: write, text: quick}
  slow: {use: write, text: slow, source: {from: quick.text}, seconds: 0}
  page: {use: page, source: {from: slow.text}}
"""
FOLDER = Path("runs/slow")


@pytest.fixture(autouse=True)
def recipe(probe: Path) -> None:
    (probe / "slow.yaml").write_text(RECIPE)


def start(*overrides: str, command: str = "run", **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mmtk", command, "slow.yaml", *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=100)
    return process.returncode, output, errors


def wait_for(path: Path) -> None:
    until = time.monotonic() + 100
    while not path.exists():
        assert time.monotonic() < until, f"{path} never appeared"
        time.sleep(0.02)


def status(stage: str) -> str:
    return str(json.loads((FOLDER / stage / "stage.json").read_text())["status"])


def test_a_killed_run_goes_on_where_it_was() -> None:
    slow = "stages.slow.seconds=100"
    process = start(slow)
    wait_for(FOLDER / "slow" / "tries")

    code, output, errors = finish(start(slow))
    assert (code, output) == (2, "")
    assert f"mmtk: {FOLDER} is in use by another 'mmtk run' (process {process.pid} on" in errors
    assert errors.count("\n") == 1

    process.kill()
    process.communicate()
    assert (status("quick"), status("slow")) == ("done", "running")
    quick_before = (FOLDER / "quick" / "stage.json").stat().st_mtime_ns

    code, output, errors = finish(start(slow))
    assert (code, errors) == (0, "")
    assert f"an earlier run was killed (process {process.pid} on" in output
    assert "already done" in output
    assert "goes on from an earlier try (was killed)" in output
    assert (FOLDER / "slow" / "tries").read_text() == "slow\nslow\n"
    assert (FOLDER / "quick" / "stage.json").stat().st_mtime_ns == quick_before
    assert (FOLDER / "quick" / "tries").read_text() == "quick\n"
    assert (FOLDER / "report.html").read_text() == "<p>quickslow</p>"


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupted_run_says_how_to_go_on(number: int, expected: int) -> None:
    process = start("stages.slow.seconds=100")
    wait_for(FOLDER / "slow" / "tries")
    process.send_signal(number)
    code, output, errors = finish(process)
    assert code == expected
    assert errors == "mmtk: interrupted; the same command goes on from here\n"
    assert "interrupted after" in output
    assert (status("quick"), status("slow")) == ("done", "interrupted")


def test_under_nohup_a_hang_up_is_ignored() -> None:
    def as_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start("stages.slow.seconds=1", preexec_fn=as_nohup)
    wait_for(FOLDER / "slow" / "tries")
    process.send_signal(signal.SIGHUP)
    code, _output, errors = finish(process)
    assert (code, errors) == (0, "")


def test_a_users_mistake_is_one_line_and_a_bug_keeps_its_traceback() -> None:
    code, output, errors = finish(start("stages.slow.failure=user"))
    assert (code, errors) == (2, "mmtk: stage 'slow': there is nothing to read\n")
    assert "\x1b" not in output
    code, _output, errors = finish(start("stages.slow.failure=bug"))
    assert code == 1
    assert errors.startswith("Traceback")
    whose = "This happened when stage 'write' (from probe/mmtk-probe 1.0) ran."
    assert errors.endswith(f"ZeroDivisionError: a bug\n{whose}\n")


def test_a_wrong_recipe_is_said_before_anything_runs() -> None:
    code, output, errors = finish(start("stages.slow.txet=x", "stages.quick.use=wirte"))
    assert (code, output) == (2, "")
    assert "did you mean 'text'?" in errors
    assert "did you mean 'write'?" in errors
    assert "Traceback" not in errors
    assert not FOLDER.exists()
