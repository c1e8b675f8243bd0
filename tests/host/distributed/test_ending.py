"""A rank that fails ends before the interpreter is taken apart, behind all that was to happen first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RANK = """
import atexit, sys
from mmtk.distributed.ending import Ending

class Torn:
    def __del__(self):
        print("taken apart", flush=True)

ending, torn = Ending(), Torn()
atexit.register(print, "at exit")
ending.code = {code}
if {unparted}:
    import torch.distributed as dist
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
print("said", end=" ")
{end}
"""


def run(unparted: bool, *, code: int = 75, end: str = "sys.exit(ending.code)", **environment: str) -> tuple:
    done = subprocess.run(
        [sys.executable, "-c", RANK.format(code=code, unparted=unparted, end=end)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_rank_that_has_not_parted_ends_at_once() -> None:
    assert run(True, RANK="0") == (75, "said at exit\n", "")


def test_a_traceback_comes_first() -> None:
    code, output, errors = run(True, code=1, end="raise ValueError('a bug')", RANK="0")
    assert (code, output) == (1, "said at exit\n")
    assert "ValueError: a bug" in errors


@pytest.mark.parametrize(("unparted", "environment"), [(False, {"RANK": "0"}), (True, {})])
def test_others_end_as_ever(unparted: bool, environment: dict[str, str]) -> None:
    assert run(unparted, **environment) == (75, "said at exit\ntaken apart\n", "")
