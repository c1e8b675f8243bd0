from __future__ import annotations

import numpy as np
import pytest
from mmtk_capfilt.steps.fingerprints import digest, first_of_equals, kept_for, look, near_pairs
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.capfilt_steps import recompressed, texture


def apart(one: Image.Image, other: Image.Image) -> int:
    first, second = look(one), look(other)
    assert first is not None
    assert second is not None
    return (first ^ second).bit_count()


def shirt(colour: str) -> Image.Image:
    picture = Image.new("RGB", (90, 90), "white")
    ImageDraw.Draw(picture).rectangle((25, 20, 65, 75), fill=colour)
    return picture


@pytest.mark.parametrize("seed", range(12))
def test_a_smaller_and_recompressed_copy_looks_the_same(seed: int) -> None:
    picture = texture(seed)
    assert apart(picture, picture.copy()) == 0
    assert apart(picture, recompressed(picture, 50)) <= 3
    assert apart(picture, recompressed(picture.resize((120, 110)), 75)) <= 3


def test_different_pictures_look_different() -> None:
    pictures = [texture(seed) for seed in range(20)]
    distances = [apart(one, other) for one in pictures for other in pictures if one is not other]
    assert min(distances) > 8


def test_the_same_shape_in_another_colour_looks_different() -> None:
    assert apart(shirt("red"), shirt("blue")) > 3
    assert apart(shirt("red"), recompressed(shirt("red"), 60)) <= 3


def test_a_plain_picture_has_no_looks() -> None:
    assert look(Image.new("RGB", (50, 40), "red")) is None
    assert look(recompressed(Image.new("RGB", (50, 40), (200, 210, 220)), 30)) is None


def test_the_hash_is_the_one_that_surveys_on_disk_hold() -> None:
    ramp = Image.fromarray(np.tile(np.arange(70, dtype=np.uint8) * 3, (80, 1))).convert("RGB")
    assert look(ramp) == 0x0F0F_FFFF_FFFF_FFFF  # brighter to the right everywhere, above the negative tints
    assert digest(b"a file") == digest(b"a file") != digest(b"another")
    assert 0 <= digest(b"a file") < 2**64


def codes_with_neighbours(count: int, seed: int) -> NDArray[np.uint64]:
    """Random codes, a third of which differ from another one in up to ten bits."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(2**64, size=count, dtype=np.uint64)
    for place in range(count // 3, 2 * count // 3):
        code = int(codes[place - count // 3])
        for bit in rng.choice(64, rng.integers(1, 11), replace=False).tolist():
            code ^= 1 << bit
        codes[place] = code
    return rng.permutation(np.unique(codes))


@pytest.mark.parametrize("distance", [1, 3, 4, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 600])
def test_near_pairs_are_those_of_a_comparison_of_all_with_all(count: int, distance: int) -> None:
    codes = codes_with_neighbours(count, seed=distance)
    plain = [int(code) for code in codes]
    expected = [
        (first, second)
        for second in range(len(plain))
        for first in range(second)
        if (plain[first] ^ plain[second]).bit_count() <= distance
    ]
    assert (len(expected) > 10) == (count == 600)
    low, high = near_pairs(codes, distance)
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == expected


def test_many_codes_are_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    count_bits = np.bitwise_count

    def counting(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
        nonlocal compared
        compared += len(values)
        return count_bits(values)

    monkeypatch.setattr(np, "bitwise_count", counting)
    count = 30_000
    near_pairs(codes_with_neighbours(count, seed=0), 3)
    assert 0 < compared < count * count / 500


def test_first_of_equals() -> None:
    codes = np.array([7, 3, 7, 9, 3, 7], np.uint64)
    assert first_of_equals(codes).tolist() == [0, 1, 0, 3, 1, 0]


def kept(codes: list[int], distance: int, *, files: tuple[int, ...] = ()) -> list[int]:
    alike = np.array([place not in files for place in range(len(codes))], np.bool_)
    return kept_for(np.array(codes, np.uint64), alike, distance).tolist()


def test_the_first_of_a_group_is_kept() -> None:
    assert kept([0, 0b1111_0000, 0b1, 0b1111_0001, 0], 1) == [0, 1, 0, 1, 0]


def test_a_chain_is_not_followed() -> None:
    """The third is near the second alone, and that is left out: the third stays, and with it its copies."""
    assert kept([0b0, 0b11, 0b1111, 0b111111, 0b1111], 2) == [0, 0, 2, 2, 2]


def test_a_copy_of_an_image_that_is_left_out_follows_it() -> None:
    assert kept([0b0, 0b11, 0b11], 2) == [0, 0, 0]


def test_files_are_equal_or_not() -> None:
    assert kept([4, 5, 4, 5, 4], 3, files=(0, 1, 2)) == [0, 1, 0, 3, 3]
    assert kept([4, 5, 4], 0, files=(0, 1, 2)) == [0, 1, 0]
    assert kept([], 3) == []
