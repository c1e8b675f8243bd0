"""Pictures that a dataset has twice, and texts that it says of everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from mmtk.api import WEB, Candidate, ImageCandidates, ImageLimits, Reader
from mmtk_capfilt.parts import WEB_DATASET
from mmtk_capfilt.steps.fingerprints import Places, kept_for
from mmtk_capfilt.steps.surveys import Overview, look_through, wording

_COLUMNS = pa.schema(
    [
        ("index", pa.int64()),  # an image that is left out: its place, its key and whose duplicate it is
        ("key", pa.string()),
        ("duplicate_of", pa.string()),
        ("text", pa.uint64()),  # a text that is barred: its code, and of how many images it is said
        ("repeats", pa.int64()),
    ]
)


class Dedup:
    """Leaves out the pass's own images that resemble an earlier one, and bars repeated web texts.

    What ``merge`` adds is left alone. Texts are counted over the images that stay. Images that fail in the
    pass, by its ``data_limits``, stand for no others.
    """

    def __init__(
        self, *, distance: int | None, texts: bool, max_repeats: int, data_limits: ImageLimits
    ) -> None:
        self._distance = distance
        self._texts = texts
        self._max_repeats = max_repeats
        self._limits = data_limits
        self._duplicates: dict[tuple[int, str], str] = {}
        self._repeats: dict[int, int] = {}

    def survey(self, readers: Mapping[str, Reader]) -> pa.Table:
        """Find duplicates and repeated texts. Memory is a few numbers for each image, and its key."""
        seen = look_through(readers[WEB_DATASET], self._distance, self._limits)
        kept = kept_for(seen.codes, seen.alike, self._distance or 0)
        tables = [_duplicates(seen, kept)]
        if self._texts:
            tables.append(_repeats(seen, kept, self._max_repeats))
        return pa.concat_tables(tables, promote_options="default").select(_COLUMNS.names).cast(_COLUMNS)

    def learn(self, survey: pa.Table) -> None:
        for index, key, original, text, repeats in zip(*survey.to_pydict().values(), strict=True):
            if original is None:
                self._repeats[text] = repeats
            else:
                self._duplicates[index, key] = original

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [self._judge(image) for image in images]

    def _judge(self, image: ImageCandidates) -> ImageCandidates:
        original = self._duplicates.get((image.index, image.key))
        if original is not None:
            return image.leaving_out(f"duplicate image: {original}")
        return image.barring(self._repeated) if self._repeats else image

    def _repeated(self, one: Candidate) -> str | None:
        times = self._repeats.get(wording(one.text)) if one.source == WEB else None
        return None if times is None else f"repeated text: said of {times} images"


def _duplicates(seen: Overview, kept: Places) -> pa.Table:
    left_out = np.flatnonzero(kept != np.arange(len(kept)))
    return pa.table(
        {
            "index": seen.indices[left_out],
            "key": seen.keys.take(left_out),
            "duplicate_of": seen.keys.take(kept[left_out]),
            "text": pa.nulls(len(left_out)),
            "repeats": pa.nulls(len(left_out)),
        }
    )


def _repeats(seen: Overview, kept: Places, most: int) -> pa.Table:
    staying = kept[seen.owners] == seen.owners
    texts, counts = np.unique(seen.texts[staying], return_counts=True)
    often = counts > most
    return pa.table({"text": texts[often], "repeats": counts[often]})
