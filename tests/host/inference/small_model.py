"""An inference model small enough to work out by hand, and pictures for it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mmtk.data.images.transforms import BlipTest
from mmtk.data.texts import BlipCaption
from mmtk.inference.batching import BatchSize
from mmtk.inference.model import InferenceModel
from mmtk.inference.preparation import Preparation
from tests.small_learner import picture, small_learner

SIZE = 8


def small_model(
    folder: Path, *, batch_size: int = 3, image_size: int = SIZE, **heads: nn.Module
) -> InferenceModel:
    """A model whose checkpoint ``folder`` is only there to be told from others."""
    folder.mkdir(exist_ok=True)
    if not (folder / "learner.json").exists():
        (folder / "learner.json").write_text("{}")
    preparation = Preparation(BlipTest(image_size), BlipCaption(), "a picture of")
    return InferenceModel(
        small_learner(**heads), preparation, folder, device="cpu", size=BatchSize(batch_size, "cpu")
    )


def pictures(folder: Path, count: int, broken: tuple[int, ...] = ()) -> list[str]:
    """``count`` pictures, those in ``broken`` unreadable."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(b"no picture" if number in broken else picture(number))
    return [str(path) for path in paths]
