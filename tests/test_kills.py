"""Runs that are killed at random moments and resumed end with the bits of one that nothing disturbed."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kill_runs import finish, kill, prepare, result, start


class Undisturbed:
    """A run on some ranks, and how long its training took."""

    def __init__(self, folder: Path, base: Path, ranks: int) -> None:
        self.folder, self.base, self.ranks = folder, base, ranks
        run = folder / f"through-{ranks}"
        shutil.copytree(base, run)
        started = time.monotonic()
        finish(start(folder, run, ranks))
        self.seconds = time.monotonic() - started
        self.result: dict[str, Any] = result(run)

    def killed(self, seed: int, in_save: bool) -> Path:
        """Start the same run anew and kill it; return its folder."""
        run = self.folder / f"killed-{self.ranks}-{seed}"
        shutil.copytree(self.base, run)
        kill(start(self.folder, run, self.ranks), run, random.Random(seed), 0.8 * self.seconds, in_save)
        return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    return prepare(folder)


@pytest.fixture(scope="module")
def alone(folder: Path, base: Path) -> Undisturbed:
    return Undisturbed(folder, base, 1)


@pytest.fixture(scope="module")
def together(folder: Path, base: Path) -> Undisturbed:
    return Undisturbed(folder, base, 2)


def marked(count: int, fast: int) -> list[Any]:
    """Seeds, all but the first few marked as slow."""
    slow = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(fast, count)]
    return [*range(fast), *slow]


@pytest.mark.parametrize("seed", marked(30, 2))
def test_killed_run_ends_with_the_same_bits(alone: Undisturbed, seed: int) -> None:
    run = alone.killed(seed, in_save=seed % 3 == 1)
    finish(start(alone.folder, run))
    assert result(run) == alone.result
    shutil.rmtree(run)


@pytest.mark.parametrize("seed", marked(8, 1))
def test_killed_ranks_end_with_the_same_bits(together: Undisturbed, seed: int) -> None:
    run = together.killed(seed, in_save=seed % 3 == 1)
    finish(start(together.folder, run, 2))
    assert result(run) == together.result
    shutil.rmtree(run)


def test_one_run_survives_many_kills(alone: Undisturbed) -> None:
    moment = random.Random(0)
    run = alone.killed(1000, in_save=False)
    for _ in range(3):
        kill(start(alone.folder, run), run, moment, 0.5 * alone.seconds, in_save=True)
    finish(start(alone.folder, run))
    assert result(run) == alone.result
