"""Damaged data sets: every sample is used or accounted for, in bounded memory, and no reader breaks down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = 2000

pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def outcome() -> subprocess.CompletedProcess[str]:
    """The fuzzer in a process of its own, with limited memory, which a fault in a library may end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.reader_fuzz", str(CASES)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_no_damage_breaks_a_reader(outcome: subprocess.CompletedProcess[str]) -> None:
    assert outcome.returncode == 0, outcome.stderr[-2000:]


def test_samples_in_are_used_or_quarantined(outcome: subprocess.CompletedProcess[str]) -> None:
    kinds = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert len(kinds) == 6
    assert sum(kind["cases"] for kind in kinds) >= CASES - len(kinds)
    for kind in kinds:
        assert kind["samples"] == kind["used"] + kind["quarantined"]
        # The damage is neither harmless nor total, or this would test nothing.
        assert kind["used"] > kind["cases"]
        assert kind["quarantined"] > kind["cases"] / 5
        assert kind["refused"] < kind["cases"]
