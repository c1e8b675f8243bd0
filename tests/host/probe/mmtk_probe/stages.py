from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import numpy as np
import torch

from mmtk.api import Blueprint, DataError, StageContext, Strategy
from mmtk.distributed.collectives import gather_objects, rank


class Write:
    """Adds a line to ``tries`` whenever it runs, so that a test can count."""

    def __init__(self, text: str, source: Path | None, seconds: float, failure: str) -> None:
        self.text = text
        self.source = source
        self.seconds = seconds
        self.failure = failure

    def check_ready(self, context: StageContext) -> None:
        if self.failure == "unready":
            raise DataError(f"there is no {context.name} to read")

    def run(self, context: StageContext) -> None:
        tries = context.folder / "tries"
        first = not tries.exists()
        with tries.open("a") as file:
            file.write(f"{self.text}\n")
        context.say(f"writing {self.text} [red]as it is[/red]")
        time.sleep(self.seconds if first else 0)
        if self.failure == "user":
            raise DataError("there is nothing to read")
        if self.failure == "bug":
            raise ZeroDivisionError("a bug")
        if self.failure == "promise":
            return
        before = self.source.read_text() if self.source else ""
        (context.folder / "text.txt").write_text(before + self.text)


class Page:
    def __init__(self, source: Path) -> None:
        self.source = source

    def run(self, context: StageContext) -> None:
        (context.folder / "report.html").write_text(f"<p>{self.source.read_text()}</p>")


class Draw:
    def __init__(self, label: str) -> None:
        self.label = label

    def run(self, context: StageContext) -> None:
        draws = {
            "python": random.random(),
            "numpy": float(np.random.random()),
            "torch": float(torch.rand(())),
            "seed": context.seed,
            "device": context.device,
        }
        (context.folder / "draws.json").write_text(json.dumps(draws))


class Together:
    """The work of all ranks: they meet again and again, until the file ``go`` lets them end."""

    every_rank = True

    def __init__(self, strategy: Blueprint[Strategy], failure: str, on_rank: int) -> None:
        self.strategy = strategy
        self.failure = failure
        self.on_rank = on_rank

    def run(self, context: StageContext) -> None:
        (context.folder / f"rank-{rank()}").write_text(str(os.getpid()))
        while not gather_objects((context.folder / "go").exists())[0]:
            if rank() == self.on_rank and self.failure == "user":
                raise DataError("there is nothing to read")
            if rank() == self.on_rank and self.failure == "bug":
                raise RuntimeError("a bug")
            time.sleep(0.02)
        (context.folder / "text.txt").write_text("met")
