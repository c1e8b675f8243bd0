"""How fast a dataset of many samples opens, what an opened reader keeps in memory, and how fast it reads.

Writes shards as img2dataset does, with random bytes for pictures, and a file of JSON lines, into a folder of
its own. Opens the shards without index files and with them, in turns; all files are in the system's cache by
then.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import random
import shlex
import statistics
import sys
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtk.data.readers.line_tables import jsonl_reader
from mmtk.data.readers.webdataset import WebDatasetReader

PER = 100_000  # samples that times are given for
OLD = time.time() - 3600


@dataclass(frozen=True)
class Figures:
    """What was measured; times are medians in seconds of processor time.

    Attributes:
        headers: opening the shards by their headers, for 100,000 samples.
        index: opening them by their index files, likewise.
        memory: bytes per sample of the opened reader.
        file: bytes per sample of the index files.
        reads: samples per second that are read in random order, in one thread.
        lines: opening the JSON lines, for 100,000 of them.
        line_memory: bytes per line of the opened reader of JSON lines.
    """

    headers: float
    index: float
    memory: float
    file: float
    reads: float
    lines: float
    line_memory: float


def write_shards(folder: Path, shards: int, samples: int, image_bytes: int) -> None:
    """Write shards of nine-digit keys, with a picture, a text and a JSON each."""
    draws = random.Random(0)
    image = draws.randbytes(image_bytes)
    for shard in range(shards):
        path = folder / f"{shard:05d}.tar"
        with tarfile.open(path, "w") as tar:
            for number in range(samples):
                key = f"{shard:05d}{number:04d}"
                facts = {"caption": "a dog in the snow", "key": key, "status": "success", "width": 256}
                for name, data in (
                    ("jpg", image),
                    ("txt", b"a dog in the snow"),
                    ("json", json.dumps(facts).encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{name}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        os.utime(path, (OLD, OLD))  # what was written a moment ago is not remembered


def timed(call: Callable[[], Any]) -> float:
    """Return the processor time of a call, which other programs don't add to."""
    start = time.process_time()
    call()
    return time.process_time() - start


def held_by(call: Callable[[], Any]) -> int:
    """Return the bytes that the result of a call holds."""
    gc.collect()
    tracemalloc.start()
    result = call()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del result
    return held


def measure(folder: Path, options: argparse.Namespace) -> Figures:
    write_shards(folder, options.shards, options.samples, options.image_bytes)
    total = options.shards * options.samples
    indexes = folder / "indexes"

    def open_shards() -> WebDatasetReader:
        return WebDatasetReader(folder, index=indexes)

    headers, by_index = [], []
    for _ in range(options.repeats):
        for path in indexes.glob("*"):
            path.unlink()
        headers.append(timed(open_shards))
        by_index.append(timed(open_shards))
    reader = open_shards()
    assert len(reader) == total, "every sample that was written must be read"
    order = random.Random(1).choices(range(total), k=min(total, 20_000))
    reads = timed(lambda: [reader[index] for index in order])

    lines = folder / "lines.jsonl"
    with lines.open("w") as file:
        for number in range(total):
            file.write(json.dumps({"image": f"{number:09d}.jpg", "caption": "a dog in the snow"}) + "\n")
    per = PER / total
    return Figures(
        headers=statistics.median(headers) * per,
        index=statistics.median(by_index) * per,
        memory=held_by(open_shards) / total,
        file=sum(path.stat().st_size for path in indexes.iterdir()) / total,
        reads=len(order) / reads,
        lines=statistics.median(timed(lambda: jsonl_reader(lines)) for _ in range(options.repeats)) * per,
        line_memory=held_by(lambda: jsonl_reader(lines)) / total,
    )


def as_json(figures: Figures) -> str:
    """One object: the time to open by index files beside that by the headers."""
    return json.dumps(
        {
            "name": "open_100k_samples",
            "value": figures.index,
            "unit": "s",
            "baseline": figures.headers,
            "ratio": figures.headers / figures.index,
        }
    )


def table(figures: Figures, command: str) -> str:
    rows = [
        ("open 100,000 samples by the headers of the shards", f"{figures.headers:.2f} s"),
        ("open 100,000 samples by index files", f"{figures.index:.4f} s"),
        ("an opened reader of shards, bytes a sample", f"{figures.memory:.1f}"),
        ("index files, bytes a sample", f"{figures.file:.1f}"),
        ("samples read in a second, random order, one thread", f"{figures.reads:,.0f}"),
        ("open 100,000 JSON lines", f"{figures.lines:.4f} s"),
        ("an opened reader of JSON lines, bytes a line", f"{figures.line_memory:.1f}"),
    ]
    body = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"| | |\n| --- | ---: |\n{body}\n\nMade by `{command}`."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index", description=__doc__)
    parser.add_argument("--shards", type=positive, default=20, help="shards (default: 20)")
    parser.add_argument("--samples", type=positive, default=10_000, help="samples a shard (default: 10000)")
    parser.add_argument("--image-bytes", type=positive, default=4000, help="of a picture (default: 4000)")
    parser.add_argument("--repeats", type=positive, default=3, help="openings of each kind (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options)
    command = shlex.join(["python", "-m", "benchmarks.index", *given])
    print(as_json(figures) if options.json else table(figures, command))
    return 0


def positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, not '{text}'")
    return number


if __name__ == "__main__":
    sys.exit(main())
