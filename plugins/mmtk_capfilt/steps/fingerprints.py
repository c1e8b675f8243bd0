"""What images are recognised by, their bytes and a hash of how they look, and the search for equals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Codes = NDArray[np.uint64]
Places = NDArray[np.int64]

BITS = 64
PLAIN = 4  # grey levels; a picture whose thumbnail spreads no wider has no look of its own
_STEP = 2  # grey levels by which a pixel must be brighter, so that the noise of a JPEG turns no even area
_LEVELS = np.array([-30, -20, -12, -4, 4, 12, 20, 30])
_WEIGHTS = np.left_shift(np.uint64(1), np.arange(BITS, dtype=np.uint64))


def digest(data: bytes) -> int:
    """64 bits that tell a file from others."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def look(picture: Image.Image) -> int | None:
    """A 64-bit hash of a picture's looks: similar ones differ in few bits, whatever their size.

    48 bits are a difference hash: is a pixel of a ``7 x 8`` thumbnail brighter than its left neighbour? The
    others say how blue and how red it is in the mean, a bit for each level passed, because a red shirt and a
    blue one are otherwise alike. None for a plain picture, which has no more than its colour.
    """
    thumbnail = picture.resize((7, 8), Image.Resampling.BOX).convert("YCbCr")
    grey, *colours = np.moveaxis(np.asarray(thumbnail, dtype=np.int16), 2, 0)
    if np.ptp(grey) <= PLAIN:
        return None
    brighter = grey[:, 1:] - grey[:, :-1] > _STEP
    tints = [colour.mean() - 128 > _LEVELS for colour in colours]
    return int(_WEIGHTS[np.concatenate([brighter.ravel(), *tints])].sum(dtype=np.uint64))


def first_of_equals(codes: Codes) -> Places:
    """For each place ``(N,)`` the first place with the same code."""
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    return first[group].astype(np.int64)


def near_pairs(codes: Codes, distance: int) -> tuple[Places, Places]:
    """All pairs of places ``i < j`` whose codes, which all differ, differ in at most ``distance`` bits.

    The bits are dealt into ``distance + k`` hands. Codes that near agree in at least ``k`` whole hands, so
    only codes that do are compared; ``k`` grows with their number to keep those few. Sorted by ``j``, then
    ``i``.
    """
    found = [np.empty((2, 0), np.int64)]
    for mask in _masks(len(codes), distance):
        masked = codes & mask
        order = np.argsort(masked, kind="stable")
        own, keys = codes[order], masked[order]
        for left, right in _neighbours(keys):
            near = np.bitwise_count(own[left] ^ own[right]) <= distance
            found.append(np.stack([order[left[near]], order[right[near]]]))
    low, high = np.unique(np.concatenate(found, axis=1)[::-1], axis=1)[::-1]
    return low, high


def _masks(count: int, distance: int) -> Iterator[np.uint64]:
    """Masks of bits, at least one of which two codes within ``distance`` agree in wholly."""
    whole = 1
    while whole < 3 and 2 ** (BITS * whole / (distance + whole)) < count:
        whole += 1
    hands = [_WEIGHTS[hand :: distance + whole].sum(dtype=np.uint64) for hand in range(distance + whole)]
    for some in combinations(hands, whole):
        yield np.bitwise_or.reduce(np.array(some, dtype=np.uint64))


def _neighbours(keys: Codes) -> Iterator[tuple[Places, Places]]:
    """Pairs of places with equal keys, of sorted keys ``(N,)``: those one apart, then two, and so on."""
    left = np.arange(len(keys), dtype=np.int64)
    apart = 0
    while len(left):
        apart += 1
        left = left[left + apart < len(keys)]
        left = left[keys[left] == keys[left + apart]]
        yield left, left + apart


def kept_for(codes: Codes, alike: NDArray[np.bool_], distance: int) -> Places:
    """Say for each image ``(N,)`` which is kept in its stead, by its place; a kept image has its own.

    An image is left out if an image before it, which is itself kept, is near enough. One that resembles left
    out images only is kept, so a chain of small changes doesn't leave out what has little in common.

    Args:
        codes: ``(N,)``.
        alike: ``(N,)``; where it is false, only the same code counts.
        distance: greatest number of different bits.
    """
    result = np.empty(len(codes), dtype=np.int64)
    for kind, reach in ((~alike, 0), (alike, distance)):
        places = np.flatnonzero(kind)
        result[places] = places[_kept_for(codes[places], reach)]
    return result


def _kept_for(codes: Codes, distance: int) -> Places:
    own = np.arange(len(codes))
    kept = first_of_equals(codes)
    different = np.flatnonzero(kept == own)
    if distance:
        for earlier, later in zip(*near_pairs(codes[different], distance), strict=True):
            first, second = different[earlier], different[later]
            if kept[first] == first and kept[second] == second:
                kept[second] = first
    return kept[kept]  # copies of an image that is left out follow it
