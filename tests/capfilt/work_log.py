"""A plugin with a step that takes its time and leaves a word on who works on what, for tests that kill."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from mmtk.api import Component, ImageCandidates, StageError, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    summary = "writes a text by chance, scores all, and logs who works on which image"
    return [Component("capfilt_step", "logged", f"{__name__}:Logged", None, summary)]


class Logged:
    """Leaves a file ``PID-KEY`` in ``log`` for each image it begins; needs no model.

    Args:
        log: folder of the files.
        seconds: how long an image takes.
        fatal: key of the image that kills the process which works on it.
        wrong: key of the image that raises a StageError.
    """

    gives = ("chance",)

    def __init__(self, *, log: str, seconds: float = 0.0, fatal: str = "", wrong: str = "") -> None:
        self._log = Path(log)
        self._seconds = seconds
        self._fatal = fatal
        self._wrong = wrong

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [self._work(image) for image in images]

    def _work(self, image: ImageCandidates) -> ImageCandidates:
        (self._log / f"{os.getpid()}-{image.key}").touch()
        time.sleep(self._seconds)
        if image.key == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        if image.key == self._wrong:
            raise StageError(f"{image.key} is wrong")
        shade = (image.pixels @ image.pixels.transpose(1, 2)).mean().item()
        image = image.adding([f"number {torch.randint(1000, ()).item()}"], written_by="chance")
        return image.scored(chance=[shade + torch.rand(()).item() for _ in image.open])
