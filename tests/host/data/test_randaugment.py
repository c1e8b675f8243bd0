from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from mmtk.data.configs import ColorJitter, RandAugment
from mmtk.data.images import randaugment
from mmtk.data.images.colors import GREY, LUMA, hue_rotation, jitter_matrix
from mmtk.data.images.draws import CHUNK, Draws
from mmtk.data.images.warp import FILL


def draws(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


def noise(edge: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(60, 200, (edge, edge, 3), dtype=np.uint8))


def dot() -> Image.Image:
    """A white pixel at column 20, row 12 of 32 on black."""
    image = Image.new("RGB", (32, 32))
    image.putpixel((20, 12), (255, 255, 255))
    return image


def brightest(image: Image.Image) -> tuple[int, int]:
    row, column = np.unravel_index(np.asarray(image)[..., 0].astype(int).argmax(), (32, 32))
    return int(column), int(row)


def apply(name: str, image: Image.Image, magnitude: int = 5, sign: float = 1.0) -> Image.Image:
    return randaugment.OPERATIONS[name](image, magnitude / 10, sign)


def test_blips_ten_operations() -> None:
    assert list(randaugment.OPERATIONS) == [
        "identity", "auto_contrast", "brightness", "sharpness", "equalize",
        "shear_x", "shear_y", "translate_x", "translate_y", "rotate",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["identity", "brightness", "sharpness"])
def test_three_operations_do_nothing_at_magnitude_five(name: str) -> None:
    assert apply(name, noise()).tobytes() == noise().tobytes()


@pytest.mark.parametrize(("magnitude", "factor"), [(0, 0.1), (2, 0.46), (10, 1.9)])
def test_enhancement_factors(magnitude: int, factor: float) -> None:
    bright = ImageEnhance.Brightness(noise()).enhance(factor)
    sharp = ImageEnhance.Sharpness(noise()).enhance(factor)
    assert apply("brightness", noise(), magnitude).tobytes() == bright.tobytes()
    assert apply("sharpness", noise(), magnitude).tobytes() == sharp.tobytes()


def test_contrast_operations() -> None:
    assert apply("auto_contrast", noise()).tobytes() == ImageOps.autocontrast(noise()).tobytes()
    assert apply("equalize", noise()).tobytes() == ImageOps.equalize(noise()).tobytes()


@pytest.mark.parametrize(
    ("name", "sign", "place"),
    [
        ("translate_x", 1, (15, 12)),
        ("translate_x", -1, (25, 12)),
        ("translate_y", 1, (20, 7)),
        ("translate_y", -1, (20, 17)),
    ],
)
def test_translations_move_by_five_pixels_onto_grey(name: str, sign: int, place: tuple[int, int]) -> None:
    moved = apply(name, dot(), 5, sign)
    pixels = np.asarray(moved)
    assert pixels[place[1], place[0]].tolist() == [255, 255, 255]
    assert (pixels == 128).all(axis=2).sum() == 5 * 32


def test_shears_move_by_fifteen_percent_of_the_distance_from_the_edge() -> None:
    assert brightest(apply("shear_x", white_on_grey(), 5, -1)) == (22, 12)  # 20 + 0.15 * 12
    assert brightest(apply("shear_y", white_on_grey(), 5, -1)) == (20, 15)  # 12 + 0.15 * 20


def white_on_grey() -> Image.Image:
    """The dot on the filling colour, so that the filled corners don't outshine it."""
    image = Image.new("RGB", (32, 32), FILL)
    image.putpixel((20, 12), (255, 255, 255))
    return image


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rotation_is_fifteen_degrees(sign: float) -> None:
    expected = noise().rotate(15 * sign, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
    difference = np.asarray(apply("rotate", noise(), 5, sign)).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 1


def test_operations_are_drawn_evenly_and_applied_with_their_probability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: Counter[tuple[str, float]] = Counter()

    def spy(name: str) -> randaugment.Operation:
        def operation(image: Image.Image, strength: float, sign: float) -> Image.Image:
            assert strength == 0.7
            seen[name, sign] += 1
            return image

        return operation

    monkeypatch.setattr(randaugment, "OPERATIONS", {name: spy(name) for name in randaugment.OPERATIONS})
    shared = draws()
    for _ in range(4000):
        randaugment.augment(noise(4), RandAugment(operations=2, magnitude=7, probability=0.5), shared)
    assert len(seen) == 20
    assert all(140 < count < 260 for count in seen.values())
    seen.clear()
    randaugment.augment(noise(4), RandAugment(operations=9, magnitude=7, probability=0), shared)
    assert not seen


def test_draws_are_uniform_and_go_on_beyond_one_chunk() -> None:
    shared = draws()
    values = [shared.between(2, 4) for _ in range(40 * CHUNK)]
    assert 2 <= min(values) < 2.1
    assert 3.9 < max(values) < 4
    assert len(set(values)) == len(values)
    counts = Counter(shared.below(3) for _ in range(3000))
    assert set(counts) == {0, 1, 2}
    assert min(counts.values()) > 850
    assert not any(shared.chance(0.0) for _ in range(100))
    assert all(shared.chance(1.0) for _ in range(100))


def matrix(jitter: ColorJitter, grey: bool = False, seed: int = 0) -> tuple[np.ndarray, float]:
    rows = np.array(jitter_matrix(noise(), jitter, grey, draws(seed))).reshape(3, 4)
    assert np.ptp(rows[:, 3]) < 1e-9
    return rows[:, :3], float(rows[0, 3])


@pytest.mark.parametrize("seed", range(5))
def test_colour_matrices_do_what_their_names_say(seed: int) -> None:
    factor = draws(seed).between(0.6, 1.4)
    mean = np.asarray(noise()).reshape(-1, 3).mean(axis=0)
    bright, offset = matrix(ColorJitter(brightness=0.4), seed=seed)
    np.testing.assert_allclose(bright, factor * np.eye(3))
    assert offset == 0
    contrast, offset = matrix(ColorJitter(contrast=0.4), seed=seed)
    np.testing.assert_allclose(LUMA @ (contrast @ mean) + offset, LUMA @ mean, atol=1)  # the mean tone stays
    np.testing.assert_allclose(contrast, factor * np.eye(3))
    saturation, _ = matrix(ColorJitter(saturation=0.4), seed=seed)
    np.testing.assert_allclose(saturation.sum(axis=1), 1)  # greys stay
    np.testing.assert_allclose(LUMA @ saturation, LUMA)  # luma stays
    np.testing.assert_allclose(saturation, factor * np.eye(3) + (1 - factor) * GREY)


def test_grey_drops_colour_whatever_else_happens() -> None:
    jitter = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.5)
    rows, _ = matrix(jitter, grey=True)
    np.testing.assert_allclose(rows[0], rows[1])
    np.testing.assert_allclose(rows[0], rows[2])


def test_hue_turns() -> None:
    np.testing.assert_allclose(hue_rotation(0.0), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(hue_rotation(0.25) @ hue_rotation(0.75), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(LUMA @ hue_rotation(0.3), LUMA, atol=1e-3)
    np.testing.assert_allclose(hue_rotation(0.3) @ np.ones(3), np.ones(3), atol=1e-3)
    assert np.abs(hue_rotation(1 / 3) - np.eye(3)).max() > 0.5


def test_pillow_applies_the_matrix_as_meant() -> None:
    image = noise()
    rows = jitter_matrix(image, ColorJitter(contrast=0.4, saturation=0.4), False, draws())
    expected = np.asarray(image) @ np.array(rows).reshape(3, 4)[:, :3].T + rows[3]
    result = np.asarray(image.convert("RGB", rows)).astype(float)
    np.testing.assert_allclose(result, expected.clip(0, 255), atol=1)


@pytest.mark.parametrize(("sign", "factor"), [(1.0, 1.45), (-1.0, 0.55)])
def test_the_corrected_set_changes_pictures_at_magnitude_five(sign: float, factor: float) -> None:
    for name, enhancer in (("brightness", ImageEnhance.Brightness), ("sharpness", ImageEnhance.Sharpness)):
        found = randaugment.CORRECTED[name](noise(), 0.5, sign)
        assert found.tobytes() == enhancer(noise()).enhance(factor).tobytes()
        assert found.tobytes() != noise().tobytes()
    rest = set(randaugment.OPERATIONS) - {"brightness", "sharpness"}
    assert list(randaugment.CORRECTED) == list(randaugment.OPERATIONS)
    assert all(randaugment.CORRECTED[name] is randaugment.OPERATIONS[name] for name in rest)


@pytest.mark.parametrize("corrected", [False, True])
def test_the_config_chooses_the_set(corrected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for flag, name in ((False, "OPERATIONS"), (True, "CORRECTED")):
        spy = {"one": lambda image, *_, flag=flag: seen.append(flag) or image}
        monkeypatch.setattr(randaugment, name, spy)
    config = RandAugment(operations=1, probability=1, corrected=corrected)
    randaugment.augment(noise(), config, draws())
    assert seen == [corrected]
