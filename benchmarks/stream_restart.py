"""What it costs to go on in the middle of a stream: the shuffle buffer is read again.

Writes shards of random bytes to a temporary folder, reads a stream of them to its middle, and goes on from
the saved position as a new process would. Reading is from the page cache: what a disk or a store adds is the
bytes that are read again, divided by its speed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmtk.data.positions import Position
from mmtk.data.readers.webdataset_stream import WebDatasetStream
from mmtk.data.shuffled_stream import ShuffledStream
from mmtk.types import Quarantined, RawSample

SETTINGS = ((1000, 1000), (1000, 10_000), (10_000, 1000), (10_000, 10_000))


@dataclass(frozen=True)
class Cost:
    """What one setting costs.

    Attributes:
        per_shard: samples in a shard.
        buffer: samples in the shuffle buffer.
        first: seconds from the start of a pass to the first sample, with the buffer filled.
        again: seconds from a saved position in the middle of the pass to the next sample.
        read_again: samples read again for it.
        state: bytes of the position in JSON.
    """

    per_shard: int
    buffer: int
    first: float
    again: float
    read_again: int
    state: int


class Counting(WebDatasetStream):
    """Counts the samples that are read."""

    count = 0

    def read(self, shard: str) -> Iterator[RawSample | Quarantined]:
        for item in super().read(shard):
            self.count += 1
            yield item


def write_shards(folder: Path, shards: int, per_shard: int, size: int) -> None:
    """Write shards of samples of ``size`` bytes, which nobody decodes."""
    for shard in range(shards):
        with tarfile.open(folder / f"web-{shard:04d}.tar", "w") as tar:
            for number in range(per_shard):
                for suffix, data in (("jpg", os.urandom(size)), ("txt", b"a text of some words")):
                    info = tarfile.TarInfo(f"{shard:04d}{number:06d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def measure(folder: Path, per_shard: int, total: int, buffer: int, repeats: int) -> Cost:
    """Read half of the shards in ``folder``, and time what it takes to go on from there."""
    first, again = [], []
    stream = Counting(folder)
    for _ in range(repeats):
        position = Position()
        started = time.perf_counter()
        for number, drawn in enumerate(_opened(stream, buffer).read(position)):
            if not number:
                first.append(time.perf_counter() - started)
            if number == total // 2:
                position = Position.from_json(json.loads(json.dumps(drawn.behind.to_json())))
                break
        stream.count = 0
        started = time.perf_counter()
        next(_opened(stream, buffer).read(position))
        again.append(time.perf_counter() - started)
    state = len(json.dumps(position.to_json()))
    return Cost(per_shard, buffer, statistics.median(first), statistics.median(again), stream.count, state)


def _opened(stream: WebDatasetStream, buffer: int) -> ShuffledStream:
    return ShuffledStream(stream, name="web", seed=0, rank=0, world=1, buffer=buffer, refuse=_refuse)


def _refuse(entry: Quarantined) -> None:
    raise AssertionError(f"the shards are sound, and yet {entry}")


def table(costs: Sequence[Cost]) -> str:
    lines = [
        "| samples per shard | shuffle buffer | first sample (s) | going on (s) | read again | state (KB) |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for cost in costs:
        lines.append(
            f"| {cost.per_shard:,} | {cost.buffer:,} | {cost.first:.2f} | {cost.again:.2f} "
            f"| {cost.read_again:,} | {cost.state / 1000:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--total", type=int, default=40_000, help="samples in all shards (default: %(default)s)"
    )
    parser.add_argument("--size", type=int, default=20_000, help="bytes of a picture (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="medians are over so many (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one object instead of a table")
    options = parser.parse_args(arguments)
    costs = []
    for per_shard in dict.fromkeys(per_shard for per_shard, _ in SETTINGS):
        with tempfile.TemporaryDirectory() as folder:
            write_shards(Path(folder), -(-options.total // per_shard), per_shard, options.size)
            for buffer in (buffer for each, buffer in SETTINGS if each == per_shard):
                costs.append(measure(Path(folder), per_shard, options.total, buffer, options.repeats))
    if options.json:
        print(json.dumps({"size": options.size, "costs": [asdict(cost) for cost in costs]}))
        return
    print(table(costs))


if __name__ == "__main__":
    main()
