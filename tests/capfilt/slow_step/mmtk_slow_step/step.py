from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

from mmtk.api import AtLeast, ImageCandidates, stable_hash


class Slow:
    """Adds a text from Python's own generator, scores all by their hash, and notes keys in a file."""

    gives = ("luck",)
    rules = (AtLeast("luck", 0.3),)

    def __init__(self, log: str, seconds: float = 0.0) -> None:
        self._log = Path(log)
        self._seconds = seconds

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        keys = " ".join(image.key for image in images)
        with self._log.open("ab", buffering=0) as file:
            file.write(f"{os.getpid()} {keys}\n".encode())
        time.sleep(self._seconds)
        written = [image.adding([f"drawn {random.randrange(100)}"]) for image in images]
        return [image.scored(luck=[stable_hash(one.text) / 2**63 for one in image.open]) for image in written]
