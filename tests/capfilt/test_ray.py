"""The executor ``ray`` on clusters of this machine."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from mmtk_capfilt.configs import RayConfig
from mmtk_capfilt.executors.ray import Ray

from mmtk.errors import RecipeError, StageError
from mmtk.plugins import load_plugins
from mmtk.recipe.build import blueprint, from_plain
from tests.capfilt.logged_runs import ROOT, LoggedRun, install_plugin, write_pairs
from tests.capfilt.work_log import Doubling

WITHOUT_RAY = "needs Ray: pip install 'mmtk[ray]'"
IMAGES = 24
DEADLINE = 120.0  # of what must come about sooner or later, however busy the machine is


def executor(**keys: Any) -> Any:
    registry = load_plugins().registry
    return blueprint(from_plain("executor", {"use": "ray", **keys}, registry), registry, {}).build()


def until(true: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for what must come about while a process runs."""
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """The processes below another one."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    children = [int(one) for one in found.split()]
    return children + [one for child in children for one in descendants(child)]


def work(run: LoggedRun, process: subprocess.Popen[str], images: int) -> None:
    """Wait until so many more images are begun."""
    wanted = len(run.begun()) + images
    until(lambda: len(run.begun()) >= wanted, process)


def end(pids: list[int]) -> None:
    """Wait until none of the processes is there any more."""
    until(lambda: not any(map(alive, pids)))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name == "ray" or name.startswith(("ray.", "mmtk_capfilt.executors.ray_pool")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("mmtk_capfilt.executors.ray_pool", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"needs the library ray: pip install 'mmtk\[ray\]'"):
        executor()
    keys = {one.name: one.default for one in fields(RayConfig)}
    with pytest.raises(StageError, match=r"pip install 'mmtk\[ray\]'"):
        Ray(**keys)


@pytest.fixture(scope="class")
def _connected() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason=WITHOUT_RAY)
    before = signal.getsignal(signal.SIGTERM)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    signal.signal(signal.SIGTERM, before)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("_connected")
class TestPool:
    """Parts of no mmtk stage, in a cluster that this process has started."""

    def test_every_part_is_done_once(self, tmp_path: Path) -> None:
        done = list(executor()(Doubling(tmp_path), [1, 4, 5, 7]))
        assert sorted(done) == [(1, 2), (4, 8), (5, 10), (7, 14)]
        assert [*tmp_path.iterdir()] == []

    def test_a_part_goes_to_another_worker_when_one_dies(self, tmp_path: Path) -> None:
        done = list(executor(workers=2)(Doubling(tmp_path, fatal=1, times=2), range(4)))
        assert sorted(done) == [(0, 0), (1, 2), (2, 4), (3, 6)]
        assert len([*tmp_path.glob("died-*")]) == 2

    def test_a_part_that_kills_each_worker_is_named(self, tmp_path: Path) -> None:
        done = []
        with pytest.raises(StageError, match=r"2 workers .* in a row .* part 1: .*process has died"):
            for part, _ in executor(tries=2, workers=1)(Doubling(tmp_path, fatal=1), range(4)):
                done.append(part)
        assert sorted(done) == [0, 2, 3]  # it is tried again behind the others
        assert len([*tmp_path.glob("died-*")]) == 2

    def test_workers_that_die_before_their_first_part_are_not_asked_for_ever(self, tmp_path: Path) -> None:
        with pytest.raises(StageError, match=r"2 workers .* in a row have died while they opened the work"):
            list(executor(tries=2, workers=1)(Doubling(tmp_path, fatal=None), [0]))

    def test_an_error_of_the_work_comes_through_as_it_is(self, tmp_path: Path) -> None:
        with pytest.raises(StageError) as caught:
            list(executor()(Doubling(tmp_path, wrong=2), range(4)))
        assert (type(caught.value), str(caught.value)) == (StageError, "part 2 is wrong")

    def test_a_worker_that_no_node_has_room_for_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StageError, match=r"needs 99 CPUs and 0 GPUs.*have 2 CPUs and 0 GPUs"):
            list(executor(cpus_per_worker=99)(Doubling(tmp_path), [0]))
        with pytest.raises(StageError, match="needs 1 CPUs and 1 GPUs"):
            list(executor()(Doubling(tmp_path, "cuda"), [0]))

    def test_it_waits_for_workers_only_so_long(self, tmp_path: Path) -> None:
        with pytest.raises(StageError, match=r"no worker has come up for 1 seconds: .*needs 99 CPUs"):
            list(executor(cpus_per_worker=99, workers=1, patience=1)(Doubling(tmp_path), [0]))

    def test_a_worker_that_does_not_see_the_folder_says_so(self, tmp_path: Path) -> None:
        from mmtk_capfilt.executors.ray_pool import PartWorker

        (tmp_path / "sign").write_text("another run's")
        for sign in (tmp_path / "nowhere" / "sign", tmp_path / "sign"):
            with pytest.raises(StageError, match="doesn't see the run's folder"):
                PartWorker().open(Doubling(tmp_path), (sign, "this run's"), 1)

    def test_a_certain_gpu_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StageError, match="device can't be cuda:1"):
            list(executor()(Doubling(tmp_path, "cuda:1"), [0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    folder = tmp_path_factory.mktemp("ray")
    install_plugin(folder / "site")
    write_pairs(folder / "web", IMAGES)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, bytes]:
    """What the executor ``local`` makes of the pairs."""
    run = LoggedRun(folder, "local", {"use": "local"})
    run.finish(run.start())
    assert len(run.begun()) == IMAGES
    return run.result()


def test_a_killed_worker_is_replaced(folder: Path, undisturbed: dict[str, bytes]) -> None:
    run = LoggedRun(folder, "worker", {"use": "ray", "workers": 2}, seconds=0.2)
    process = run.start()
    work(run, process, 6)
    victim = run.begun()[-1][0]
    below = descendants(process.pid)
    assert victim in below
    os.kill(victim, signal.SIGKILL)
    assert "Traceback" not in run.finish(process)
    assert len({pid for pid, _ in run.begun()}) > 1
    assert run.result() == undisturbed
    end(below)


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_and_its_cluster(
    folder: Path, undisturbed: dict[str, bytes], sent: signal.Signals, code: int
) -> None:
    run = LoggedRun(folder, sent.name, {"use": "ray", "workers": 2}, seconds=0.5)
    process = run.start()
    work(run, process, 6)
    below = descendants(process.pid)
    os.killpg(process.pid, sent)  # as a terminal does
    printed = run.finish(process, code)
    assert "interrupted; the same command goes on from here" in printed
    assert "Traceback" not in printed
    end(below)
    run.finish(run.start())
    assert run.result() == undisturbed


@pytest.mark.slow
def test_twenty_kills_of_workers_and_of_the_run_leave_the_same_bytes(folder: Path) -> None:
    """The work has more images than can be begun between all kills, so each one hits a run at work."""
    chance = random.Random(7)
    many = folder / "many"
    many.mkdir()
    write_pairs(many / "web", 300)
    (many / "site").symlink_to(folder / "site")
    through = LoggedRun(many, "through", {"use": "local"})
    through.finish(through.start())
    run = LoggedRun(many, "killed", {"use": "ray", "workers": 2, "tries": 20}, seconds=0.3)
    process = run.start()
    victims = ["run"] * 4 + ["worker"] * 16
    chance.shuffle(victims)

    def workers() -> list[int]:
        """Those of the present run; an earlier one's may still be there for a moment."""
        return sorted(
            pid for pid in {pid for pid, _ in run.begun()} & {*descendants(process.pid)} if alive(pid)
        )

    for victim in victims:
        work(run, process, chance.randint(1, 8))
        time.sleep(chance.uniform(0, 0.5))
        if victim == "worker":
            until(lambda: bool(workers()), process)
            os.kill(chance.choice(workers()), signal.SIGKILL)
            continue
        below = descendants(process.pid)
        process.kill()
        process.communicate()
        if chance.random() < 0.5:  # else the next run starts while the old workers may still be at it
            end(below)
        process = run.start()
    assert "Traceback" not in run.finish(process)
    assert run.result() == through.result()


@pytest.mark.slow
def test_a_run_uses_the_nodes_that_there_are(
    folder: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two nodes one goes down in the middle, a third one comes, and the run is killed and goes on."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        run = LoggedRun(folder, "nodes", {"use": "ray", "address": cluster.address}, seconds=1.0)
        process = run.start()

        def at_work() -> set[int]:
            return {pid for pid, _ in run.begun() if alive(pid)}

        until(lambda: len(at_work()) == 2, process)
        cluster.remove_node(second, allow_graceful=False)
        until(lambda: len(at_work()) == 1, process)
        cluster.add_node(num_cpus=1)
        until(lambda: len(at_work()) == 2, process)
        process.kill()
        process.communicate()
        until(lambda: not at_work())  # nobody works for a run that is dead
        process = run.start()
        assert "Traceback" not in run.finish(process)
        assert run.result() == undisturbed
    finally:
        cluster.shutdown()


def test_an_address_that_nobody_answers_at_is_one_message(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    for address, reason in (("nonsense", "Invalid address"), (nobody, "Connection refused")):
        with pytest.raises(StageError, match=rf"can't join the cluster '{address}': .*{reason}[^;]*$"):
            list(executor(address=address)(Doubling(tmp_path), [0]))
