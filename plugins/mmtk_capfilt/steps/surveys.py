"""Looking through a dataset once for what its images are recognised by."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmtk.api import DataError, ImageLimits, Reader, decode_image, ordered_map, stable_hash
from mmtk_capfilt.steps.fingerprints import Codes, Places, digest, look

_BLOCK = 256  # images that a thread looks at in one go


@dataclass(frozen=True)
class Overview:
    """What is remembered of a dataset's ``N`` readable images and of their ``T`` texts.

    Attributes:
        indices: ``(N,)``, their places in the dataset.
        keys: ``N`` strings.
        codes: ``(N,)``, of the image's looks where ``alike``, else of its file.
        alike: ``(N,)``.
        texts: ``(T,)``, codes of texts, each once for an image.
        owners: ``(T,)``, whose text it is, among the ``N``.
    """

    indices: Places
    keys: pa.ChunkedArray
    codes: Codes
    alike: NDArray[np.bool_]
    texts: Codes
    owners: Places


def look_through(reader: Reader, distance: int | None, limits: ImageLimits) -> Overview:
    """Look at each image of a dataset once, in threads. Those that can't be read or decoded are passed over.

    Args:
        distance: how many bits of their looks may differ; with None images are known by their files alone,
            and none is decoded.
        limits: which images are passed over.
    """

    def look_at(block: range) -> Overview:
        return _overview(reader, block, distance, limits)

    starts = range(0, len(reader), _BLOCK)
    blocks = [range(start, min(start + _BLOCK, len(reader))) for start in starts] or [range(0)]
    return _joined(list(ordered_map(look_at, blocks, workers=os.cpu_count() or 1)))


def wording(text: str) -> int:
    """A code of a text's words, without case, punctuation and white space; 0 if it has none."""
    words = re.findall(r"\w+", text.casefold())
    return stable_hash(*words) if words else 0


def _overview(reader: Reader, block: range, distance: int | None, limits: ImageLimits) -> Overview:
    keys: list[str] = []
    indices, codes, alike, texts, owners = [], [], [], [], []
    for index in block:
        try:
            sample = reader[index]
            seen = None if distance is None else look(decode_image(sample.image, limits))
        except DataError:
            continue
        own = {wording(text) for text in sample.texts} - {0}
        texts += sorted(own)
        owners += [len(keys)] * len(own)
        indices.append(index)
        keys.append(sample.key)
        codes.append(digest(sample.image) if seen is None else seen)
        alike.append(seen is not None)
    return Overview(
        np.array(indices, np.int64),
        pa.chunked_array([keys], pa.string()),
        np.array(codes, np.uint64),
        np.array(alike, np.bool_),
        np.array(texts, np.uint64),
        np.array(owners, np.int64),
    )


def _joined(parts: Sequence[Overview]) -> Overview:
    before = np.cumsum([0, *(len(part.codes) for part in parts)])
    return Overview(
        np.concatenate([part.indices for part in parts]),
        pa.chunked_array([chunk for part in parts for chunk in part.keys.chunks], pa.string()),
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.alike for part in parts]),
        np.concatenate([part.texts for part in parts]),
        np.concatenate([part.owners + start for part, start in zip(parts, before, strict=False)]),
    )
