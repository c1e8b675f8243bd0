"""Runs of two ranks that are killed, stopped or fail: real processes, and one message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.distributed_c10d import BackendConfig
from torch.distributed.elastic.multiprocessing import ProcessFailure

from mmtk.distributed.group import backends
from mmtk.distributed.launch import how_it_failed
from mmtk.distributed.launcher import ExitNote

RECIPE = """
name: meet
device: cpu
stages:
  together: {use: together}
"""
STAGE = Path("runs/meet/together")
AGAIN = "mmtk: interrupted; the same command goes on from here\n"
MMTK = ("-m", "mmtk", "run", "meet.yaml")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.fixture(autouse=True)
def recipe(probe: Path) -> None:
    (probe / "meet.yaml").write_text(RECIPE)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def launch(*overrides: str) -> subprocess.Popen[str]:
    return start(*MMTK, *overrides, "--nproc", "2")


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=100)
    return process.returncode, output, errors


def ranks_that_met() -> list[int]:
    """Wait until both ranks have met; return their process ids."""
    files = [STAGE / f"rank-{rank}" for rank in range(2)]
    until = time.monotonic() + 100
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < until
        time.sleep(0.05)
    return [int(file.read_text()) for file in files]


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""  # empty when nobody has reaped it yet
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_rank_is_one_message_of_the_launcher(rank: int) -> None:
    process = launch()
    os.kill(ranks_that_met()[rank], signal.SIGKILL)
    code, _, errors = finish(process)
    assert (code, errors) == (1, f"mmtk: 1 of 2 ranks was killed (rank {rank} by SIGKILL); out of memory?\n")


def test_a_killed_rank_of_torchrun_is_one_message_of_another_rank() -> None:
    process = start(*TORCHRUN, *MMTK)
    os.kill(ranks_that_met()[1], signal.SIGKILL)
    code, _, errors = finish(process)
    assert code == 1
    said = [line for line in errors.splitlines() if line.startswith("mmtk:")]
    assert len(said) <= 1, errors
    assert all("lost contact with another rank" in line for line in said)
    assert "mmtk/" not in errors, "a traceback of mmtk's"


def test_ranks_end_with_their_launcher_and_the_same_command_goes_on() -> None:
    process = launch()
    ranks = ranks_that_met()
    process.kill()
    until = time.monotonic() + 10
    while any(map(lives, ranks)):
        assert time.monotonic() < until
        time.sleep(0.05)
    _, _, errors = finish(process)
    assert errors == ""
    (STAGE / "go").touch()
    code, output, errors = finish(launch())
    assert (code, errors) == (0, "")
    assert "an earlier run was killed" in output
    assert "goes on from an earlier try (was killed)" in output


@pytest.mark.slow
def test_ranks_end_with_torchrun() -> None:
    process = start(*TORCHRUN, *MMTK)
    ranks = ranks_that_met()
    process.kill()
    until = time.monotonic() + 10
    while any(map(lives, ranks)):
        assert time.monotonic() < until
        time.sleep(0.05)
    finish(process)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_bug_on_one_rank_is_its_traceback(rank: int) -> None:
    code, _, errors = finish(launch("stages.together.failure=bug", f"stages.together.on_rank={rank}"))
    assert code == 1
    said = [line.removeprefix(f"[rank{rank}]: ") for line in errors.splitlines()]  # torch puts it there
    assert said[0].startswith("Traceback")
    assert errors.count("Traceback") == 1
    where = "This happened when stage 'together' (from probe/mmtk-probe 1.0) ran."
    assert said[-3:] == ["RuntimeError: a bug", where, f"on rank {rank} of 2"]


def test_a_mistake_that_one_rank_finds_is_its_message() -> None:
    code, _, errors = finish(launch("stages.together.failure=user"))
    assert (code, errors) == (2, "mmtk: stage 'together': there is nothing to read\n")


@pytest.mark.parametrize(
    ("number", "to_group", "expected"),
    [
        pytest.param(signal.SIGINT, False, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, False, 143),
        (signal.SIGINT, True, 130),
        (signal.SIGHUP, False, 129),
    ],
)
def test_an_interruption_is_one_line(number: int, to_group: bool, expected: int) -> None:
    process = launch()
    ranks_that_met()
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code, _, errors = finish(process)
    assert (code, errors) == (expected, AGAIN)


def test_a_rank_that_is_stopped_stops_all() -> None:
    process = launch()
    os.kill(ranks_that_met()[1], signal.SIGTERM)
    code, _, errors = finish(process)
    assert (code, errors) == (143, AGAIN)


def ended(rank: int, exit_code: int, seconds: int = 0) -> ProcessFailure:
    failure = ProcessFailure(local_rank=rank, pid=rank, exitcode=exit_code, error_file="none")
    failure.timestamp = 1000 + seconds
    return failure


@pytest.mark.parametrize(
    ("notes", "failures", "code", "said"),
    [
        pytest.param(
            [ExitNote(1000.1, 1, "lost contact")],
            {1: ended(1, -signal.SIGKILL), 0: ended(0, 1)},
            *(1, "1 of 4 ranks was killed (rank 1 by SIGKILL); out of memory?"),
            id="a lost contact follows from a kill",
        ),
        pytest.param(
            [],
            {
                2: ended(2, -signal.SIGSEGV),
                3: ended(3, -signal.SIGKILL, 1),
                0: ended(0, -signal.SIGKILL, 30),
                1: ended(1, -signal.SIGTERM),
            },
            *(1, "2 of 4 ranks were killed (rank 2 by SIGSEGV, rank 3 by SIGKILL); out of memory?"),
            id="torchrun kills those that hang, after its time",
        ),
        pytest.param(
            [ExitNote(1000.1, 143, "interrupted"), ExitNote(1000.2, 2, "")],
            {0: ended(0, 2), 1: ended(1, 143), 2: ended(2, -signal.SIGKILL, 30)},
            *(2, ""),
            id="what a rank has said needs nothing more",
        ),
        pytest.param(
            [ExitNote(1000.1, 0, ""), ExitNote(1000.1, 75, "interrupted")],
            {1: ended(1, 75), 2: ended(2, -signal.SIGTERM)},
            *(75, "interrupted"),
            id="torchrun's SIGTERM may meet a rank that has saved",
        ),
        pytest.param(
            [ExitNote(1000.1, 1, "lost contact")], {0: ended(0, 1)}, 1, "lost contact", id="nobody knows more"
        ),
        pytest.param(
            [],
            {3: ended(3, 5), 0: ended(0, -signal.SIGTERM, 1)},
            *(1, "rank 3 of 4 ended with exit code 5 and without a message"),
            id="nothing is known",
        ),
    ],
)
def test_what_the_launcher_says(
    notes: list[ExitNote], failures: dict[int, Any], code: int, said: str
) -> None:
    assert how_it_failed(notes, failures, ranks=4) == (code, said)


def test_with_cuda_there_is_a_backend_for_each_device() -> None:
    assert BackendConfig(backends(cuda=True)).get_device_backend_map() == {"cpu": "gloo", "cuda": "nccl"}
    assert BackendConfig(backends(cuda=False)).get_device_backend_map()["cpu"] == "gloo"
