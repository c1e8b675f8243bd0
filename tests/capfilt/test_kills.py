"""Passes that are killed at random moments end with the files of one that nothing disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.capfilt.killed_passes import (
    PARTS,
    RECIPE,
    STAGE,
    begun,
    environment,
    finish,
    finished,
    kill,
    prepare,
    result,
    seen,
    start,
)

WORKERS = "stages.clean.executor.workers=2"
# Who works on the parts: ranks, overrides, and how many parts may be under way when all are killed.
WAYS = {"one process": (1, (), 1), "two ranks": (2, (), 2), "two workers": (1, (WORKERS,), 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("kills"))


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, bytes]:
    finish(start(folder, "through"))
    assert Counter(begun(seen(folder, "through"))) == Counter(range(PARTS - 1))
    return result(folder, "through")


def marked() -> list[object]:
    """Each way with three kills, and with twenty as slow ones; two workers take long to start."""
    slow = {"two workers": pytest.mark.slow}
    return [
        *(pytest.param(way, 3, id=f"{way}, 3 kills", marks=slow.get(way, ())) for way in WAYS),
        *(pytest.param(way, 20, id=f"{way}, 20 kills", marks=pytest.mark.slow) for way in WAYS),
    ]


@pytest.mark.parametrize(("way", "kills"), marked())
def test_a_killed_pass_ends_with_the_same_files(
    folder: Path, undisturbed: dict[str, bytes], way: str, kills: int
) -> None:
    ranks, overrides, under_way = WAYS[way]
    run, moment = f"{way}-{kills}".replace(" ", "-"), random.Random(f"{way}, {kills}")
    done: list[tuple[int, set[int]]] = []
    for _ in range(kills):
        kill(start(folder, run, *overrides, ranks=ranks), folder, run, moment)
        done.append((len(seen(folder, run)), finished(folder, run)))
    assert not (folder / run / STAGE / "ledger.parquet").exists()
    finish(start(folder, run, *overrides, ranks=ranks))

    assert result(folder, run) == undisturbed
    batches = seen(folder, run)
    again = Counter(begun(batches)) - Counter(range(PARTS - 1))
    assert again.total() <= kills * under_way
    for count, parts in done:
        assert not parts & set(begun(batches[count + under_way :]))


def command(folder: Path, run: str, *arguments: str) -> subprocess.Popen[str]:
    overrides = [f"run_dir={run}", f"stages.clean.steps[0].log={run}.txt", *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", "mmtk", "run", "killed.yaml", *overrides],
        cwd=folder,
        env=os.environ | environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_parts(folder: Path, run: str, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 150
    while len(finished(folder, run)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no part was finished"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ((WORKERS,), ["a worker process of executor 'local' was killed"]),
        (("--nproc", "2"), ["1 of 2 ranks was killed"]),
    ],
    ids=["workers", "nproc"],
)
def test_after_a_killed_worker_and_a_message_the_same_command_goes_on(
    folder: Path, undisturbed: dict[str, bytes], arguments: tuple[str, ...], messages: list[str]
) -> None:
    run = f"worker{len(arguments)}"
    process = command(folder, run, *arguments)
    wait_for_parts(folder, run, 2, process)
    worker = int(seen(folder, run)[-1][0])
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    output, errors = process.communicate(timeout=150)
    assert process.returncode in (1, 2), output + errors
    lines = errors.splitlines()
    assert len(lines) == len(messages), errors
    assert all(line.startswith("mmtk: ") for line in lines), errors
    assert all(words in line for words, line in zip(messages, lines, strict=True)), errors
    before = len(finished(folder, run))
    assert 2 <= before < PARTS

    process = command(folder, run, *arguments)
    output, errors = process.communicate(timeout=150)
    assert (process.returncode, errors) == (0, ""), output
    assert f"going on behind {before} of {PARTS} parts" in output
    assert result(folder, run) == undisturbed


def test_a_score_that_no_step_gives_is_one_message(folder: Path) -> None:
    (folder / "killed.yaml").write_text(RECIPE.replace("score: luck", "score: pluck"))
    try:
        output, errors = command(folder, "broken").communicate(timeout=150)
    finally:
        (folder / "killed.yaml").write_text(RECIPE)
    assert errors.splitlines()[0] == (
        "mmtk: killed.yaml:15:26  stages.clean.steps.1.score: needs the score 'pluck', which no step before "
        "it gives; did you mean 'luck'? (capfilt, from capfilt/mmtk 0.1.0)"
    ), output
