"""Training on a stream, killed at random moments: it goes on in the middle of its shuffle buffers."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.kill_runs import finish, kill, prepare, result, start

STREAM = (
    "stages.train.data.sources.web={stream: {use: webdataset_stream, path: {from: emoji.web_train}}, "
    "samples: 400, shuffle_buffer: 30}",
)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_run_on_a_stream_ends_with_the_same_bits(tmp_path: Path, ranks: int) -> None:
    base = prepare(tmp_path)
    through = tmp_path / "through"
    shutil.copytree(base, through)
    finish(start(tmp_path, through, ranks, STREAM))
    run = tmp_path / "killed"
    shutil.copytree(base, run)
    moment = random.Random(ranks)
    for _ in range(3):
        kill(start(tmp_path, run, ranks, STREAM), run, moment, 3.0, in_save=True)
    finish(start(tmp_path, run, ranks, STREAM))
    assert result(run) == result(through)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    run = prepare(tmp_path)
    kill(start(tmp_path, run, 2, STREAM), run, random.Random(0), 6.0, in_save=True)
    finish(start(tmp_path, run, 1, STREAM))
    assert "on 1 rank" in Path(f"{run}.log").read_text()
