from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from mmtk.stages.interrupt import Interrupted, interruptible


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_becomes_an_exception_with_the_shells_code(number: int, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, interruptible():
        signal.raise_signal(number)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


def test_no_handler_of_exceptions_swallows_it() -> None:
    with pytest.raises(Interrupted), interruptible():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            pytest.fail("swallowed")


def test_outside_the_main_thread_nothing_is_installed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_second_signal_ends_a_process_that_is_stuck() -> None:
    code = """
import signal
from mmtk.stages.interrupt import Interrupted, interruptible
with interruptible():
    try:
        signal.raise_signal(signal.SIGTERM)
    except Interrupted:
        signal.raise_signal(signal.SIGTERM)
"""
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert result.returncode == -signal.SIGTERM


def test_a_forked_worker_ends_quietly() -> None:
    read, write = os.pipe()
    with interruptible():
        child = os.fork()
        if child == 0:
            try:
                signal.raise_signal(signal.SIGINT)
                os.write(write, b"survived")
            except BaseException:
                os.write(write, b"raised")
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 100) == b""
    assert os.waitstatus_to_exitcode(status) == 130
    os.close(read)
