"""What the host's readers take. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mmtk.config import Address, Input, Range, Slot
from mmtk.kinds import Blueprint, Reader


@dataclass(frozen=True, kw_only=True)
class WebDatasetConfig:
    """Reads image-text pairs from WebDataset tar shards."""

    path: Annotated[Address | Path | tuple[Address | Path, ...], Input("dataset")]
    """a folder of `*.tar` shards, a shard, a pattern (`a-*.tar`, `a-{0000..0123}.tar`), an address of any of
    these that fsspec reads (`s3://…`, `https://…`), or a list of them"""
    source: str | None = None
    """where the texts come from (`web`, `human`, …); overrides what the shards say"""
    index: Path | None = None
    """folder for the files that remember where the samples lie; null keeps each beside its shard, or in the
    user's cache folder where that is not possible"""


@dataclass(frozen=True, kw_only=True)
class BlipJsonConfig:
    """Reads image-text pairs from BLIP's JSON lists."""

    annotations: Annotated[Path | tuple[Path, ...], Input("annotations")]
    """a JSON list, or several, of items with `image`, `caption` (one or a list) and perhaps `image_id`"""
    images: Annotated[Path, Input("images")]
    """the folder that the items' `image` paths start from"""
    source: str = ""
    """where the texts come from (`web`, `human`, …)"""


@dataclass(frozen=True, kw_only=True)
class FoldConfig:
    """Takes a part of another reader's samples, so that a filter can judge pairs it was not trained on."""

    reader: Annotated[Blueprint[Reader], Slot("reader")]
    """the whole dataset"""
    fold: Annotated[int, Range(0, None)]
    """which part, counted from 0: the samples whose index modulo `folds` it is. Samples of one image may
    fall into different parts; where that matters, give the image one sample with several texts."""
    folds: Annotated[int, Range(2, None)] = 2
    """number of parts"""
    rest: bool = False
    """take all but that part"""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.fold >= self.folds:
            yield "fold", f"must be below folds ({self.folds}), not {self.fold}"
