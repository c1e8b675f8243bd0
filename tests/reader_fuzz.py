"""Damages datasets of every kind and reads them: ``python -m tests.reader_fuzz CASES``.

Prints a JSON object per kind of dataset: cases, samples in, used and quarantined. Ends with a traceback when
anything but an error for users comes out of a reader, or when its accounts don't match.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from mmtk.data.pipeline import EvaluationData
from mmtk.data.readers.blip_json import BlipJsonReader
from mmtk.data.readers.hf_dataset import HfDatasetReader
from mmtk.data.readers.line_tables import csv_reader, jsonl_reader
from mmtk.data.readers.parquet import ParquetReader
from mmtk.data.readers.shard_stream import iterate_shard
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.errors import DataError, SampleError
from mmtk.kinds import Reader
from mmtk.printable import printable
from mmtk.types import Quarantined
from tests.host.data.samples import TEST_TRANSFORMS, pair, picture, write_tar

SAMPLES = 5
MEMORY = 1 << 30  # bytes that reading may take on top of what the imports took
IMAGES = [picture(width=12, height=9, seed=n, format=("PNG", "JPEG", "WEBP", "GIF")[n % 4]) for n in range(8)]


def damage(data: bytes, draws: random.Random) -> bytes:
    """Change data in one to three ways."""
    changed = bytearray(data)
    for _ in range(draws.randint(1, 3)):
        size = len(changed)
        start = draws.randrange(size) if size else 0
        end = min(size, start + draws.choice((1, 2, 8, 64, 512, 2000)))
        way = draws.randrange(7)
        if way == 0 and size:
            changed[start] ^= 1 << draws.randrange(8)
        elif way == 1:
            del changed[start:]
        elif way == 2:
            del changed[start:end]
        elif way == 3:
            changed[start:start] = draws.randbytes(end - start)
        elif way == 4:
            changed[start:end] = bytes(end - start)
        elif way == 5:
            changed[start:start] = changed[start:end]
        else:
            changed[start:end] = draws.randbytes(end - start)
    return bytes(changed)


def damage_tar(data: bytes, draws: random.Random) -> bytes:
    """Also change fields of headers, with checksums that fit: size, type, name and prefix."""
    if draws.random() < 0.5 or len(data) < 512:
        return damage(data, draws)
    changed = bytearray(data)
    start = draws.choice([at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"])
    place, size = draws.choice(((124, 12), (156, 1), (0, 100), (345, 155)))
    values = (
        draws.randbytes(size),
        b"\x80" + draws.randbytes(size - 1),
        (b"%o" % draws.getrandbits(33)).rjust(size, b"0")[:size],
        draws.choice((b"../../x.png", b"/x.png", b"\x1b[2J.png", b"x", b"L", b"S", b"1")).ljust(size, b"\0")[
            :size
        ],
    )
    changed[start + place : start + place + size] = draws.choice(values)
    changed[start + 148 : start + 156] = b" " * 8
    changed[start + 148 : start + 156] = b"%06o\0 " % sum(changed[start : start + 512])
    return bytes(changed)


def pictures(draws: random.Random) -> list[bytes]:
    """Pictures, of which some are damaged."""
    chosen = draws.sample(IMAGES, SAMPLES)
    return [damage(image, draws) if draws.random() < 0.3 else image for image in chosen]


def shard(folder: Path, draws: random.Random) -> Reader:
    members = []
    for number, image in enumerate(pictures(draws)):
        facts = json.dumps({"caption": "a text", "key": f"k{number}", "status": "success"}).encode()
        members += [*pair(f"k{number}", b"a text", image), (f"k{number}.json", facts)]
    path = write_tar(folder / "s.tar", members)
    if draws.random() < 0.8:
        path.write_bytes(damage_tar(path.read_bytes(), draws))
    reader = WebDatasetReader(path)
    streamed = list(iterate_shard(str(path)))
    assert len(streamed) == len(reader) + len(reader.quarantined), "stream and index differ"
    bad = Counter(one for one in streamed if isinstance(one, Quarantined))
    assert Counter(reader.quarantined) <= bad, "the index refuses what the stream takes"
    return reader


def lines(folder: Path, draws: random.Random, kind: str) -> Reader:
    for number, image in enumerate(pictures(draws)):
        (folder / f"{number}.img").write_bytes(image)
    if kind == "jsonl":
        rows = [json.dumps({"image": f"{n}.img", "caption": f"a text {n}"}) for n in range(SAMPLES)]
    else:
        rows = [f'{n}.img,"a text, {n}"' for n in range(SAMPLES)]
    path = folder / "t"
    path.write_bytes(
        damage("\n".join(rows).encode(), draws) if draws.random() < 0.7 else "\n".join(rows).encode()
    )
    return jsonl_reader(path) if kind == "jsonl" else csv_reader(path, columns=("image", "caption"))


def blip_json(folder: Path, draws: random.Random) -> Reader:
    for number, image in enumerate(pictures(draws)):
        (folder / f"{number}.img").write_bytes(image)
    items = [{"image": f"{n}.img", "caption": ["one", "two"]} for n in range(SAMPLES)]
    text = json.dumps(items).encode()
    (folder / "l.json").write_bytes(damage(text, draws) if draws.random() < 0.5 else text)
    return BlipJsonReader(folder / "l.json", folder)


def parquet(folder: Path, draws: random.Random) -> Reader:
    rows = [{"image": image, "caption": "a text"} for image in pictures(draws)]
    path = folder / "t.parquet"
    options = {"compression": draws.choice(("none", "snappy", "zstd")), "write_page_checksum": True}
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2, **options)
    if draws.random() < 0.7:
        path.write_bytes(damage(path.read_bytes(), draws))
    return ParquetReader(path)


def hf_dataset(folder: Path, draws: random.Random) -> Reader:
    """Pictures and the JSON files are damaged, but not the Arrow files, which the library maps unchecked."""
    rows = {"image": pictures(draws), "caption": ["a text"] * SAMPLES}
    datasets.Dataset.from_dict(rows).save_to_disk(str(folder / "set"))
    if draws.random() < 0.5:
        path = draws.choice(sorted((folder / "set").glob("*.json")))
        path.write_bytes(damage(path.read_bytes(), draws))
    return HfDatasetReader(folder / "set")


KINDS: dict[str, Callable[[Path, random.Random], Reader]] = {
    "webdataset": shard,
    "jsonl": lambda folder, draws: lines(folder, draws, "jsonl"),
    "csv": lambda folder, draws: lines(folder, draws, "csv"),
    "blip_json": blip_json,
    "parquet": parquet,
    "hf_dataset": hf_dataset,
}


def read(reader: Reader, draws: random.Random, counts: Counter[str]) -> None:
    """Read everything in random order, then through the pipeline, and compare the accounts."""
    for entry in reader.quarantined:
        assert entry.reason, "a reason is missing"
        assert printable(entry.key) == entry.key, f"not fit for a terminal: {entry.key!r}"
    order = list(range(len(reader)))
    draws.shuffle(order)
    keys: set[str] = set()
    unreadable = 0
    for index in order:
        try:
            sample = reader[index]
        except SampleError as error:
            unreadable += bool(error.reason)
            continue
        assert sample.key not in keys, f"two samples are called {sample.key}"
        keys.add(sample.key)
    assert len(keys) + unreadable == len(reader), "a sample is missing"
    refused = len(reader.quarantined)
    if not len(reader):
        counts.update(samples=refused, quarantined=refused)
        return
    data = EvaluationData.of(reader, *TEST_TRANSFORMS, batch_size=3)
    used = sum(len(batch) for batch in data)
    accounts = data.accounts
    assert accounts.offered == accounts.used + accounts.quarantined == len(reader) + refused
    assert accounts.used == used <= len(keys)
    counts.update(samples=accounts.offered, used=used, quarantined=accounts.quarantined)


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def main(cases: int) -> None:
    datasets.disable_progress_bars()
    limit_memory()
    for name, make in KINDS.items():
        counts: Counter[str] = Counter(cases=0, samples=0, used=0, quarantined=0, refused=0)
        for case in range(cases // len(KINDS)):
            draws = random.Random(f"{name} {case}")
            counts["cases"] += 1
            with tempfile.TemporaryDirectory() as folder:
                try:
                    reader = make(Path(folder), draws)
                except DataError:
                    counts["refused"] += 1
                    continue
                try:
                    read(reader, draws, counts)
                except Exception as error:
                    error.add_note(f"{name}, case {case}")
                    raise
        print(json.dumps({"kind": name, **counts}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
