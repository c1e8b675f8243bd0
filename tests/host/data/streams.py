"""A stream in memory for the tests of streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from mmtk.types import Quarantined, RawSample

from .samples import picture

PICTURE = picture(8, 8)


class ShardList:
    """Shards in memory, each a number of samples; ``bad`` names those samples that can't be used.

    Of these the odd ones are refused by the stream, and the even ones have no picture.
    """

    def __init__(self, sizes: Sequence[int], bad: frozenset[str] = frozenset()) -> None:
        self.sizes = sizes
        self.shards = [f"memory/{n}.tar" for n in range(len(sizes))]
        self.bad = bad
        self.read_from: Counter[str] = Counter()

    @property
    def keys(self) -> set[str]:
        """The keys of all usable samples."""
        return {f"{n}/{i}" for n, size in enumerate(self.sizes) for i in range(size)} - self.bad

    def read(self, shard: str) -> Iterator[RawSample | Quarantined]:
        number = self.shards.index(shard)
        for index in range(self.sizes[number]):
            self.read_from[shard] += 1
            key = f"{number}/{index}"
            if key in self.bad and index % 2:
                yield Quarantined(key, "no text", shard)
                continue
            image = b"broken" if key in self.bad else PICTURE
            yield RawSample(key, image, (f"a {key}", f"b {key}"), key, location=shard)
