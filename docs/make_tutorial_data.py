"""The small dataset of docs/tutorial.md, of shipped emoji: ``python docs/make_tutorial_data.py data``.

It is what a user's own folder might hold: web pairs as img2dataset leaves them (tar shards, and beside each
a table and a file of counts), human pairs and test pairs as BLIP's JSON lists, and labels as if made by hand.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from mmtk_emoji.stage import read_split, read_truth
from PIL import Image

from mmtk.api import RawSample

SAMPLES_PER_SHARD = 1000  # img2dataset's default is 10,000
LABELS = 200


def main(folder: Path) -> None:
    truth = {row["key"]: row["clean"] for row in read_truth().to_pylist()}
    web = list(read_split("web_train", truth.keys()))
    clean = {}
    for shard, start in enumerate(range(0, len(web), SAMPLES_PER_SHARD)):
        samples = web[start : start + SAMPLES_PER_SHARD]
        keys = [f"{shard:05d}{number:04d}" for number in range(len(samples))]
        write_shard(folder / "web", shard, keys, samples)
        clean |= {key: truth[sample.key] for key, sample in zip(keys, samples, strict=True)}
    write_labels(folder / "labels.csv", clean)
    human = write_list(folder, "human", read_split("human_train", truth.keys()))
    test = write_list(folder, "test", read_split("test", truth.keys()))
    print(f"{folder}: {len(web)} web pairs, {human} human pairs, {test} test pairs")


def write_shard(folder: Path, shard: int, keys: Sequence[str], samples: Sequence[RawSample]) -> None:
    """Write a shard with picture, text and facts of each sample, its table and its counts."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [facts(key, sample) for key, sample in zip(keys, samples, strict=True)]
    with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
        for row, sample in zip(rows, samples, strict=True):
            add(tar, f"{row['key']}.webp", sample.image)
            add(tar, f"{row['key']}.txt", row["caption"].encode())
            add(tar, f"{row['key']}.json", json.dumps(row, indent=4).encode())
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")
    counts = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "failed_to_resize": 0}
    (folder / f"{shard:05d}_stats.json").write_text(json.dumps(counts, indent=4), encoding="utf-8")


def facts(key: str, sample: RawSample) -> dict[str, Any]:
    width, height = Image.open(io.BytesIO(sample.image)).size
    digest = hashlib.sha256(sample.image).hexdigest()
    sizes = {"width": width, "height": height, "original_width": width, "original_height": height}
    return {"caption": sample.texts[0], "key": key, "status": "success", **sizes, "sha256": digest}


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def write_labels(path: Path, clean: dict[str, bool]) -> None:
    """Write which of some web texts, drawn by chance, are right."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "clean"])
        for key in sorted(random.Random(0).sample(sorted(clean), LABELS)):
            writer.writerow([key, str(clean[key]).lower()])


def write_list(folder: Path, name: str, samples: Iterable[RawSample]) -> int:
    """Write pictures and a list of their captions; returns how many."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    items = []
    for sample in samples:
        (images / f"{sample.key}.webp").write_bytes(sample.image)
        items.append({"image": f"{sample.key}.webp", "caption": sample.texts[0]})
    (folder / f"{name}.json").write_text(json.dumps(items, indent=1), encoding="utf-8")
    return len(items)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_tutorial_data.py FOLDER")
    main(Path(sys.argv[1]))
