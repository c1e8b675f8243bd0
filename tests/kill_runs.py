"""Runs of a small recipe in processes that a test may kill at any moment."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import random
import shutil
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

RECIPE = """
name: killed
device: cpu
seed: 3
definitions:
  web: {use: webdataset, path: {from: emoji.web_train}}
stages:
  emoji: {use: emoji_data, categories: [food-drink]}
  vocabulary: {use: train_wordpiece, texts: ["${definitions.web}"], vocab_size: 300}
  train:
    use: train
    model:
      use: med
      image_encoder:
        {use: timm_vit, image_size: 32, patch_size: 16, width: 32, depth: 2, heads: 2, stem: conv}
      text_encoder:
        {use: med_bert, width: 32, depth: 2, heads: 2, hidden_width: 64, max_positions: 20, dropout: 0.1}
      tokenizer: {use: wordpiece, vocab: {from: vocabulary.vocabulary}, max_length: 10}
      embed_dim: 16
    heads: {itc: {use: itc}, itm: {use: itm, negatives: {use: itc_weighted}}, lm: {use: lm}}
    momentum: {use: ema, momentum: 0.9, queue_size: 64}
    data:
      sources: {web: {reader: "${definitions.web}"}}
      image_transform: {use: blip_train, size: 32}
      batch_size: 8
      workers: 2
    optimizer: {use: adamw, lr: 1.0e-3}
    schedule: {use: warmup_cosine, warmup_steps: 4}
    accumulate: 2
    epochs: 2
    save_every: 2
    log_every: 3
"""
STAGE = Path("train")
_PRELOADED = [
    "torch",
    "torch.distributed.checkpoint",
    "mmtk.engine.train",
    "mmtk_blip.build",
    "mmtk_momentum.ema",
]


def context() -> Any:
    """Processes that start with everything imported, from a server that has no threads of its own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    started = mp.get_context("forkserver")
    started.set_forkserver_preload(_PRELOADED)
    return started


def prepare(folder: Path) -> Path:
    """Write the recipe into ``folder`` and run all but its training; return the run's folder."""
    (folder / "killed.yaml").write_text(RECIPE)
    short = [*_arguments(folder, folder / "base"), "stages.train.max_steps=1"]
    _finish(_start(short, folder / "base.log"))
    shutil.rmtree(folder / "base" / STAGE)
    return folder / "base"


def start(folder: Path, run: Path, ranks: int = 1, overrides: tuple[str, ...] = ()) -> list[BaseProcess]:
    """Start ``mmtk run`` as torchrun would; what it prints goes to ``RUN.log`` and ``RUN.RANK.log``."""
    arguments = [*_arguments(folder, run), *overrides]
    if ranks == 1:
        return [_start(arguments, Path(f"{run}.log"))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    return [
        _start(arguments, Path(f"{run}.{rank}.log"), shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(ranks)
    ]


def finish(processes: list[BaseProcess]) -> None:
    """Wait for processes that must end well."""
    for process in processes:
        _finish(process)


def kill(
    processes: list[BaseProcess], run: Path, moment: random.Random, seconds: float, in_save: bool
) -> None:
    """Kill processes (SIGKILL) after a random time up to ``seconds``, or while a state is being written."""
    deadline = time.monotonic() + moment.uniform(0.1, seconds)
    while time.monotonic() < deadline and all(process.is_alive() for process in processes):
        time.sleep(0.01)
    until = time.monotonic() + 20
    while in_save and time.monotonic() < until and processes[0].is_alive():
        if any((run / STAGE / "resume").glob(".step-*")):
            break
    for process in moment.sample(processes, len(processes)):
        process.kill()
        time.sleep(moment.choice((0, 0.2)))
    for process in processes:
        process.join()


def result(run: Path) -> dict[str, Any]:
    """What a finished run must have in common with one that nothing disturbed: every bit but the clock's."""
    timed = {"samples_per_second", "data_wait"}
    lines = [json.loads(line) for line in (run / STAGE / "metrics.jsonl").read_text().splitlines()]
    newest = max((run / STAGE / "resume").glob("step-*"))
    return {
        "weights": (run / STAGE / "checkpoint" / "weights.safetensors").read_bytes(),
        "state": (newest / "state.safetensors").read_bytes(),
        "metrics": [{key: value for key, value in line.items() if key not in timed} for line in lines],
        "quarantine": (run / STAGE / "quarantine.jsonl").read_text(),
    }


def _arguments(folder: Path, run: Path) -> list[str]:
    return ["run", str(folder / "killed.yaml"), f"run_dir={run}"]


def _start(arguments: list[str], log: Path, environment: dict[str, str] | None = None) -> BaseProcess:
    process: BaseProcess = context().Process(target=_enter, args=(arguments, str(log), environment or {}))
    process.start()
    return process


def _finish(process: BaseProcess) -> None:
    process.join(120)
    assert process.exitcode == 0, process.exitcode


def _enter(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    """The process: ``mmtk ARGUMENTS``, with its output in a file and its last states left to look at."""
    import torch

    from mmtk.cli import main
    from mmtk.engine.saved_states import SavedStates

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    SavedStates.clear = lambda _self: None  # type: ignore[method-assign]
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
