"""Passes of a slow step from outside in processes that a test may kill at any moment."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from mmtk.data.shards import ShardWriter
from tests.capfilt.passes import result_files
from tests.kill_runs import context
from tests.small_learner import sample

PARTS = 40
PART_SIZE = 5
STAGE = Path("clean")
RECIPE = """
name: killed
device: cpu
seed: 5
stages:
  clean:
    use: capfilt
    data:
      reader: {use: webdataset, path: web}
      image_transform: {use: blip_test, size: 8}
      batch_size: 2
      workers: 2
    steps:
      - {use: slow, log: log, seconds: 0.01}
      - {use: keep_best, score: luck, count: 2}
      - {use: merge, human: {people: {use: webdataset, path: human}}, weights: {web: 1.5}}
    part_size: 5
"""


def prepare(folder: Path) -> Path:
    """Write recipe, plugin and shards into ``folder``: pairs, some of them twice or without a picture."""
    info = folder / "site" / "mmtk_slow_step-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mmtk-slow-step\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mmtk]\nslow_step = mmtk_slow_step.plugin\n")
    (folder / "killed.yaml").write_text(RECIPE)
    with ShardWriter(folder / "web", "web", samples_per_shard=60) as shards:
        for number in range((PARTS - 1) * PART_SIZE):
            pair = sample(number, f"a text {number}", f"text {number % 7}")
            image = pair.image[:60] if number % 15 == 4 else pair.image
            shards.write(replace(pair, image=image))
    with ShardWriter(folder / "human", "human") as shards:
        for number in range(PART_SIZE):
            shards.write(sample(number, f"a human text {number}"))
    return folder


def environment(folder: Path) -> dict[str, str]:
    """What offers the plugin to a process and its children."""
    plugin = Path(__file__).parent / "slow_step"
    places = [
        folder / "site",
        plugin,
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    return {"PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}


def start(folder: Path, run: str, *overrides: str, ranks: int = 1) -> list[BaseProcess]:
    """Start ``mmtk run``, as torchrun would with several ranks; what it prints goes to ``RUN.RANK.log``."""
    arguments = ["run", "killed.yaml", f"run_dir={run}", f"stages.clean.steps[0].log={run}.txt", *overrides]
    shared: dict[str, str] = {}
    if ranks > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        shared["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    processes = []
    for rank in range(ranks):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
        settings = environment(folder) | shared | own
        process: BaseProcess = context().Process(
            target=_enter, args=(str(folder), arguments, f"{run}.{rank}.log", settings)
        )
        process.start()
        processes.append(process)
    return processes


def finish(processes: list[BaseProcess]) -> None:
    """Wait for processes that must end well."""
    for process in processes:
        process.join(200)
        assert process.exitcode == 0, process.exitcode


def kill(processes: list[BaseProcess], folder: Path, run: str, moment: random.Random) -> None:
    """Kill processes (SIGKILL) when the step has seen a few batches more, and a little later."""
    batches, wait = len(seen(folder, run)) + moment.randint(1, 7), moment.uniform(0, 0.04)
    deadline = time.monotonic() + 100
    while len(seen(folder, run)) < batches and all(process.is_alive() for process in processes):
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.002)
    time.sleep(wait)
    for process in moment.sample(processes, len(processes)):
        process.kill()
        time.sleep(moment.choice((0, 0.05)))
    for process in processes:
        process.join()


def seen(folder: Path, run: str) -> list[list[str]]:
    """What the step was given, batch by batch: a process and keys."""
    with contextlib.suppress(FileNotFoundError):
        return [line.split() for line in (folder / f"{run}.txt").read_text().splitlines()]
    return []


def finished(folder: Path, run: str) -> set[int]:
    """The numbers of the parts that a run has finished."""
    return {int(path.stem) for path in (folder / run / STAGE / "parts").glob("[0-9]*.parquet")}


def begun(batches: list[list[str]]) -> list[int]:
    """The parts of web pairs whose first batch the step was given, in order."""
    firsts = [int(keys[0][1:]) for _pid, *keys in batches if keys[0][1:].isdecimal()]
    return [number // PART_SIZE for number in firsts if number % PART_SIZE == 0]


def result(folder: Path, run: str) -> dict[str, bytes]:
    return result_files(folder / run / STAGE)


def _enter(folder: str, arguments: list[str], log: str, settings: dict[str, str]) -> None:
    import torch

    from mmtk.cli import main

    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(settings)
    sys.path[:0] = settings["PYTHONPATH"].split(os.pathsep)
    torch.set_num_threads(1)
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
