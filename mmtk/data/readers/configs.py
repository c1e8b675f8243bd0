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
class WebDatasetStreamConfig:
    """Reads image-text pairs from WebDataset tar shards in one pass, without an index."""

    path: Annotated[Address | Path | tuple[Address | Path, ...], Input("dataset")]
    """a folder of `*.tar` shards, a shard, a pattern (`a-*.tar`, `a-{0000..0123}.tar`), an address of any of
    these that fsspec reads (`s3://…`, `https://…`), or a list of them"""
    source: str | None = None
    """where the texts come from (`web`, `human`, …); overrides what the shards say"""


@dataclass(frozen=True, kw_only=True)
class BlipJsonConfig:
    """Reads image-text pairs from BLIP's JSON lists."""

    annotations: Annotated[Path | tuple[Path, ...], Input("annotations", "file")]
    """a JSON list, or several, of items with `image`, `caption` (one or a list) and perhaps `image_id`"""
    images: Annotated[Path, Input("images", "folder")]
    """the folder that the items' `image` paths start from"""
    source: str = ""
    """where the texts come from (`web`, `human`, …)"""


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """What the readers of tables have in common."""

    path: Annotated[Path | tuple[Path, ...], Input("annotations")]
    """the table"""
    images: Annotated[Path, Input("images", "folder")] | None = None
    """the folder that paths of pictures start from and must not leave; null takes the folder of the table"""
    image: str = "image"
    """the column of the pictures"""
    text: str | tuple[str, ...] = "caption"
    """the column of the texts, or several; each holds a text or a list of texts, or nothing"""
    image_id: str = "image_id"
    """the column that says which rows show one picture; where it is missing, rows with the same path or the
    same bytes do"""
    source: str = ""
    """where the texts come from (`web`, `human`, …)"""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.text:
            yield "text", "needs at least one column"


@dataclass(frozen=True, kw_only=True)
class JsonlConfig(TableConfig):
    """Reads image-text pairs from files of one JSON object per line, with the pictures in a folder."""

    path: Annotated[Path | tuple[Path, ...], Input("annotations")]
    """a file, a folder of `*.jsonl`, a pattern (`a-*.jsonl`, `a-{00..15}.jsonl`) or a list of these"""


@dataclass(frozen=True, kw_only=True)
class CsvConfig(TableConfig):
    """Reads image-text pairs from CSV and TSV files, with the pictures in a folder."""

    path: Annotated[Path | tuple[Path, ...], Input("annotations")]
    """a file, a folder of `*.csv`, a pattern (`a-*.tsv`, `a-{00..15}.csv`) or a list of these"""
    delimiter: str | None = None
    """what stands between fields; null takes a tab in `*.tsv` files and a comma in others"""
    columns: tuple[str, ...] | None = None
    """names of the columns of files that have no header; null takes the first line as the header"""

    def check(self) -> Iterator[tuple[str, str]]:
        yield from super().check()
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            yield "delimiter", "must be one character, and no quote or line break"
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            yield "columns", "two columns have one name"


@dataclass(frozen=True, kw_only=True)
class ParquetConfig(TableConfig):
    """Reads image-text pairs from Parquet files, with the pictures in a column or in a folder."""

    path: Annotated[Path | tuple[Path, ...], Input("annotations")]
    """a file, a folder of `*.parquet`, a pattern (`a-*.parquet`, `a-{00..15}.parquet`) or a list of these"""
    cached_groups: Annotated[int, Range(1, None)] = 4
    """row groups that are kept in memory: a shuffled pass reads a whole group for a row that is in none"""


@dataclass(frozen=True, kw_only=True)
class HfDatasetConfig(TableConfig):
    """Reads image-text pairs from a dataset that the library `datasets` wrote with `save_to_disk`."""

    path: Annotated[Path, Input("annotations", "folder")]
    """the folder that was saved"""
    split: str | None = None
    """which split of a saved DatasetDict; null where the folder holds one dataset"""


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
