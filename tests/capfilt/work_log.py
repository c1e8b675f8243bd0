"""Work for tests that kill: a plugin with a step that takes its time and logs who does what, and less."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Doubling:
    """A ``PartWork`` whose parts give twice their number, but for two of them.

    Attributes:
        folder: must be seen by workers.
        fatal: the part that kills the process which works on it; None for opening the work.
        wrong: the part that raises a StageError.
        times: how often ``fatal`` does so, all processes together; counted by files in ``folder``.
    """

    folder: Path
    device: str = "cpu"
    fatal: int | None = -1
    wrong: int = -1
    times: int = 1000

    def open(self) -> Callable[[int], int]:
        if self.fatal is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._do

    def _do(self, part: int) -> int:
        if part == self.fatal:
            died = len([*self.folder.glob("died-*")])
            if died < self.times:
                (self.folder / f"died-{died}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if part == self.wrong:
            raise StageError(f"part {part} is wrong")
        return 2 * part
