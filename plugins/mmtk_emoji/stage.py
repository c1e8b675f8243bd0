"""From the shipped Parquet files to the shards that training and evaluation read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmtk.api import RawSample, ShardWriter, StageContext
from mmtk_emoji.configs import SPLITS

DATA = Path(__file__).parent / "data"
TRUTH = "truth.parquet"


class EmojiDataStage:
    """Writes a folder of shards per split, and beside them the truth, which the shards know nothing of.

    Every picture is an image of its own: its ``image_id`` is its key. ``source`` is ``web`` in ``web_train``
    and ``human`` elsewhere.
    """

    def __init__(self, *, categories: Sequence[str] | None = None) -> None:
        self._categories = categories

    def run(self, context: StageContext) -> None:
        counts = self._write(context.folder)
        context.say(f"emoji samples: {', '.join(counts)}")

    def stand_in(self, folder: Path) -> None:
        """Write the outputs themselves, which takes a second or two."""
        self._write(folder)

    def _write(self, folder: Path) -> list[str]:
        """Write the outputs and return how many samples each split has."""
        truth = read_truth(self._categories)
        pq.write_table(truth, folder / TRUTH, compression="zstd")
        keys = set(truth["key"].to_pylist())
        counts = []
        for split in SPLITS:
            with ShardWriter(folder / split, split.replace("_", "-")) as writer:
                for sample in read_split(split, keys):
                    writer.write(sample)
            counts.append(f"{split} {writer.samples:,}")
        return counts


def read_truth(categories: Sequence[str] | None = None) -> pa.Table:
    """Read what is known of each sample, a row each.

    Args:
        categories: keep the samples of these alone; None keeps all.

    Returns:
        A table with the columns key, split, concept, style, label, category, license, clean and noise_kind.
    """
    truth = pq.read_table(DATA / TRUTH)
    if categories is None:
        return truth
    return truth.filter(pc.is_in(truth["category"], pa.array(categories, pa.string())))


def read_split(split: str, keys: Collection[str]) -> Iterator[RawSample]:
    """Yield the samples of a split whose key is among ``keys``, in the split's order."""
    path = DATA / f"{split}.parquet"
    for row in pq.read_table(path).to_pylist():
        if row["key"] in keys:
            yield RawSample(
                key=row["key"],
                image=row["image"],
                texts=(row["text"],),
                image_id=row["key"],
                source="web" if split == "web_train" else "human",
                location=path.name,
            )
