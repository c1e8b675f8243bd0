"""``mmtk run --nproc 2``: real processes of torchrun's launcher, as a user starts, stops and loses them."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmtk.stages.record import read_record
from tests.kill_runs import STAGE, prepare

SLOW = ("stages.train.epochs=400", "stages.train.save_every=1000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    prepare(folder)
    return folder


def start(folder: Path, *arguments: str, ranks: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmtk", "run", "killed.yaml", "run_dir=base", *arguments]
    return subprocess.Popen(
        [*command, "--nproc", str(ranks)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=200)
    return process.returncode, output, errors


def wait_for_steps(folder: Path, terminal: int | None = None) -> None:
    """Wait until training has logged its first figures; read meanwhile what it writes to a terminal."""
    metrics = folder / "base" / STAGE / "metrics.jsonl"
    until = time.monotonic() + 100
    while not metrics.exists() or not metrics.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
        while terminal is not None and select.select([terminal], [], [], 0)[0]:
            os.read(terminal, 10_000)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"killed.yaml" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_stopped_run_saves_leaves_with_75_and_goes_on_also_on_another_number_of_ranks(folder: Path) -> None:
    process = start(folder, *SLOW)
    wait_for_steps(folder)
    process.send_signal(signal.SIGTERM)
    code, output, errors = finish(process)
    assert code == 75
    assert errors == "mmtk: interrupted; the same command goes on from here\n"
    assert "its state is saved" in output
    record = read_record(folder / "base" / STAGE)
    assert record is not None
    assert record.status == "interrupted"
    (state,) = (folder / "base" / STAGE / "resume").glob("step-*")
    steps = int(state.name.removeprefix("step-"))

    # Under another strategy it is the same run, too.
    process = start(
        folder, *SLOW, "stages.train.strategy={use: fsdp2}", "stages.train.data.workers=1", ranks=1
    )
    until = time.monotonic() + 100
    assert process.stdout is not None
    said = ""
    while "going on" not in said and time.monotonic() < until:
        said += process.stdout.readline()
    assert f"going on after step {steps} of " in said
    assert "on 1 rank instead of 2: a batch is now 8 samples instead of 16, an epoch 16 steps" in said
    process.send_signal(signal.SIGINT)
    code, _, errors = finish(process)
    assert code in (75, 130)  # 130 where the signal came before the first step
    assert errors == "mmtk: interrupted; the same command goes on from here\n"


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_whose_terminal_is_closed_saves_and_leaves_with_75(folder: Path, ranks: int) -> None:
    """Writing to such a terminal is an error, which must not keep any rank from saving."""
    shutil.rmtree(folder / "base" / STAGE, ignore_errors=True)
    command = [sys.executable, "-m", "mmtk", "run", "killed.yaml", "run_dir=base", *SLOW]
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execve(command[0], [*command, "--nproc", str(ranks)], {**os.environ, "OMP_NUM_THREADS": "1"})
    wait_for_steps(folder, terminal)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 75
    record = read_record(folder / "base" / STAGE)
    assert record is not None
    assert record.status == "interrupted"
    assert list((folder / "base" / STAGE / "resume").glob("step-*"))


def test_a_mistake_is_one_message(folder: Path) -> None:
    code, output, errors = finish(start(folder, "stages.train.strategy={use: fairscale_sdp}"))
    assert code == 2
    assert errors.startswith("mmtk: stage 'train': strategy 'fairscale_sdp' needs CUDA")
    assert errors.count("\n") == 1
    assert output == "", "said before the first stage"


def test_a_mistake_in_the_recipe_is_said_before_any_rank_starts(folder: Path) -> None:
    code, output, errors = finish(start(folder, "stages.train.stratgy={use: ddp}"))
    assert (code, output) == (2, "")
    assert errors.count("did you mean 'strategy'?") == 1


def test_a_killed_rank_ends_the_run_with_one_message(folder: Path) -> None:
    shutil.rmtree(folder / "base" / STAGE, ignore_errors=True)
    process = start(folder, *SLOW, "stages.train.log_every=1")
    wait_for_steps(folder)
    os.kill(ranks_of(process)[-1], signal.SIGKILL)
    code, _, errors = finish(process)
    assert (code, errors) == (1, "mmtk: 1 of 2 ranks was killed (rank 1 by SIGKILL); out of memory?\n")


@pytest.mark.slow
def test_torchrun_restarts_the_ranks_and_they_end_with_the_same_bits(folder: Path) -> None:
    """One rank is killed twice; torchrun starts all of them anew, and they go on from the newest state."""
    through, killed = ("through", "killed")
    for name in (through, killed):
        shutil.copytree(folder / "base", folder / name, ignore=shutil.ignore_patterns(str(STAGE)))
    code, _, errors = finish(start(folder, "run_dir=through"))
    assert code == 0, errors
    command = ["torch.distributed.run", "--nproc-per-node=2", "--max-restarts=2", "--rdzv-backend=c10d"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "-m", "mmtk", "run", "killed.yaml", "run_dir=killed"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": "0"},
    )
    for step in (2, 6):
        resume = folder / killed / STAGE / "resume"
        until = time.monotonic() + 100
        while not list(resume.glob(f"step-*{step}")):
            assert time.monotonic() < until
            time.sleep(0.02)
        os.kill(ranks_of(process)[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    one, other = (folder / name / STAGE / "checkpoint" / "weights.safetensors" for name in (through, killed))
    assert one.read_bytes() == other.read_bytes()
