"""What holds for every reader: each sample that was written is read, whatever the order, and nothing else."""

from __future__ import annotations

import csv
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmtk.data.readers.blip_json import BlipJsonReader
from mmtk.data.readers.fold import FoldReader
from mmtk.data.readers.hf_dataset import HfDatasetReader
from mmtk.data.readers.line_tables import csv_reader, jsonl_reader
from mmtk.data.readers.parquet import ParquetReader
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.data.shards import ShardWriter
from mmtk.kinds import Reader

from .samples import picture, sample

PICTURES = [picture(seed=number) for number in range(4)]
Rows = list[tuple[int, str]]  # which picture, and its text


def files(folder: Path) -> None:
    for number, data in enumerate(PICTURES):
        (folder / f"{number}.png").write_bytes(data)


def shards(folder: Path, rows: Rows) -> Reader:
    with ShardWriter(folder, "s", samples_per_shard=3) as writer:
        for number, (image, text) in enumerate(rows):
            writer.write(sample(number, image=PICTURES[image], texts=(text,)))
    return WebDatasetReader(folder)


def items(rows: Rows) -> list[dict[str, str]]:
    return [{"image": f"{image}.png", "caption": text} for image, text in rows]


def jsonl(folder: Path, rows: Rows) -> Reader:
    files(folder)
    half = len(rows) // 2
    for name, part in (("a.jsonl", rows[:half]), ("b.jsonl", rows[half:])):
        (folder / name).write_text("".join(json.dumps(item) + "\n" for item in items(part)))
    return jsonl_reader(folder)


def table(folder: Path, rows: Rows) -> Reader:
    files(folder)
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "caption"), *((f"{image}.png", text) for image, text in rows)])
    return csv_reader(folder / "t.csv")


def parquet(folder: Path, rows: Rows) -> Reader:
    columns = {"image": [PICTURES[image] for image, _ in rows], "caption": [text for _, text in rows]}
    pq.write_table(pa.table(columns), folder / "t.parquet", row_group_size=3)
    return ParquetReader(folder, cached_groups=1)


def blip(folder: Path, rows: Rows) -> Reader:
    files(folder)
    (folder / "l.json").write_text(json.dumps(items(rows)))
    return BlipJsonReader(folder / "l.json", folder)


def saved(folder: Path, rows: Rows) -> Reader:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    columns = {"image": [PICTURES[image] for image, _ in rows], "caption": [text for _, text in rows]}
    datasets.Dataset.from_dict(columns).save_to_disk(str(folder / "set"))
    return HfDatasetReader(folder / "set")


WORDS = st.text("aé,\"' \t\u2028", max_size=8).map(lambda text: f"x{text}y")


@pytest.mark.parametrize("make", [shards, jsonl, table, parquet, blip, saved])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(0, 3), WORDS), min_size=1, max_size=10), seed=st.integers(0, 9))
def test_each_sample_once_in_any_order(make: Callable[[Path, Rows], Reader], rows: Rows, seed: int) -> None:
    if make is shards:  # a line of a txt is a text, and its white space is one space
        rows = [(image, " ".join(text.split())) for image, text in rows]
    with tempfile.TemporaryDirectory() as folder:
        reader = make(Path(folder), rows)
        assert len(reader) == len(rows)
        assert list(reader.quarantined) == []
        order = list(range(len(rows)))
        random.Random(seed).shuffle(order)
        found = {index: reader[index] for index in order}
        assert [(found[n].image, found[n].texts) for n in range(len(rows))] == [
            (PICTURES[image], (text,)) for image, text in rows
        ]
        assert len({one.key for one in found.values()}) == len(rows)
        folds = [FoldReader(reader, fold=fold, folds=3) for fold in range(3)]
        assert sorted(fold[n].key for fold in folds for n in range(len(fold))) == sorted(
            one.key for one in found.values()
        )
