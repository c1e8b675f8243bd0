"""Ranks that only environment variables bring together, where rank 0 holds the store: one message."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPE = """
name: meet
device: cpu
stages:
  together: {use: together}
"""
STAGE = Path("runs/meet/together")


@pytest.fixture(autouse=True)
def recipe(probe: Path) -> None:
    (probe / "meet.yaml").write_text(RECIPE)


def start(*overrides: str, ranks: int = 2) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "mmtk", "run", "meet.yaml", *overrides],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **meeting, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(ranks)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    """Wait for all; return their exit codes and what each has said."""
    said = [process.communicate(timeout=100)[1] for process in processes]
    return [process.returncode for process in processes], said


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_mistake_is_said_by_the_rank_that_finds_it(rank: int) -> None:
    _codes, said = finish(start("stages.together.failure=user", f"stages.together.on_rank={rank}", ranks=3))
    expected = ["", "", ""]
    expected[rank] = "mmtk: stage 'together': there is nothing to read\n"
    assert said == expected


def test_a_mistake_that_rank_0_finds_before_any_stage_is_its_message() -> None:
    codes, said = finish(start("stages.together.strategy={use: single}"))
    assert codes[0] == 2
    assert said[0].startswith("mmtk: stage 'together': strategy 'single' trains on one rank")
    assert said[1] == ""


def test_of_a_killed_rank_0_another_one_speaks() -> None:
    processes = start()
    file = STAGE / "rank-1"
    until = time.monotonic() + 100
    while not file.exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    processes[0].send_signal(signal.SIGKILL)
    codes, said = finish(processes)
    assert codes[1] == 1
    assert said[1].startswith("mmtk: lost contact with another rank, which ended without a message")
    assert said[1].count("\n") == 1
