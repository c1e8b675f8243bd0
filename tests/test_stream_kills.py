"""Training on a stream, killed at random moments: it goes on in the middle of its shuffle buffers."""

from __future__ import annotations

import random
import shutil
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.kill_runs import STAGE, finish, kill, prepare, result, start

STREAM = (
    "stages.train.data.sources.web={stream: {use: webdataset_stream, path: {from: emoji.web_train}}, "
    "samples: 400, shuffle_buffer: 30}",
)


def kill_after_a_save(processes: list[BaseProcess], run: Path, moment: random.Random) -> None:
    """Kill processes some steps after they saved another state than was there before."""
    states = run / STAGE / "resume"
    before = set(states.glob("step-*"))
    deadline = time.monotonic() + 60
    while not set(states.glob("step-*")) - before and processes[0].is_alive():
        assert time.monotonic() < deadline, "no state was saved"
        time.sleep(0.01)
    kill(processes, run, moment, 0.5, in_save=False)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_run_on_a_stream_ends_with_the_same_bits(tmp_path: Path, ranks: int) -> None:
    base = prepare(tmp_path)
    through, run = tmp_path / "through", tmp_path / "killed"
    shutil.copytree(base, through)
    shutil.copytree(base, run)
    finish(start(tmp_path, through, ranks, STREAM))
    moment = random.Random(ranks)
    for _ in range(2):
        kill_after_a_save(start(tmp_path, run, ranks, STREAM), run, moment)
    finish(start(tmp_path, run, ranks, STREAM))
    assert result(run) == result(through)
    log = Path(f"{run}.log" if ranks == 1 else f"{run}.0.log").read_text()
    assert log.count("going on after step") == 2


@pytest.mark.slow
def test_a_killed_run_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    run = prepare(tmp_path)
    kill_after_a_save(start(tmp_path, run, 2, STREAM), run, random.Random(0))
    finish(start(tmp_path, run, 1, STREAM))
    assert "instead of 2" in Path(f"{run}.log").read_text()
