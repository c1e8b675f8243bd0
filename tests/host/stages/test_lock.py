from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmtk.errors import StageError
from mmtk.stages.lock import LOCK_FILE, run_lock

HOLD = """
import sys, time
from pathlib import Path
from mmtk.stages.lock import run_lock
with run_lock(Path(sys.argv[1])):
    if sys.argv[2:] == ["fork"]:
        import os
        child = os.fork()
        if child == 0:
            time.sleep(60)
        print(child, flush=True)
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_refuses_a_folder_in_use_and_says_by_whom(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(StageError, match=rf"(?s){tmp_path.name} is in use.*process {process.pid} on"),
            run_lock(tmp_path),
        ):
            pass
        process.communicate("")
    with run_lock(tmp_path) as dead:
        assert dead is None


def test_a_killed_process_leaves_its_name_but_no_lock(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    with run_lock(tmp_path) as dead:
        assert dead is not None
        assert dead.startswith(f"process {process.pid} on")


def test_a_forked_worker_that_outlives_its_process_holds_nothing(tmp_path: Path) -> None:
    with hold(tmp_path, "fork") as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.stdout.readline()
        process.kill()
        process.wait()
        try:
            with run_lock(tmp_path) as dead:
                assert dead is not None
        finally:
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_path_that_can_be_no_folder_is_a_message(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageError, match=rf"{name} can't be the run's folder: "), run_lock(tmp_path / name):
        pass


def test_creates_the_folder_and_lets_go_after_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "new"
    with pytest.raises(RuntimeError), run_lock(folder):
        assert f"process {os.getpid()} " in (folder / LOCK_FILE).read_text()
        raise RuntimeError
    assert (folder / LOCK_FILE).read_text() == ""
