from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmtk.data.configs import CLIP_MEAN, CLIP_STD, ColorJitter, RandAugment
from mmtk.data.images.decode import EncodedPicture, decode_image
from mmtk.data.images.draws import Draws
from mmtk.data.images.transforms import BlipTest, BlipTrain, DecodedPicture, Normalize

from .samples import encode

PLAIN = RandAugment(operations=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def quarters(edge: int = 64) -> Image.Image:
    """Red, green, blue and black quarters."""
    image = Image.new("RGB", (edge, edge))
    half = edge // 2
    for colour, corner in (("red", (0, 0)), ("lime", (half, 0)), ("blue", (0, half))):
        image.paste(colour, (*corner, corner[0] + half, corner[1] + half))
    return image


def test_normalize_is_the_usual_formula() -> None:
    image = noise(5, 3)
    tensor = Normalize(CLIP_MEAN, CLIP_STD)(image)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).double() / 255
    expected = (expected - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    torch.testing.assert_close(tensor.double(), expected, atol=1e-5, rtol=0)


def test_blip_test_is_a_square_resize() -> None:
    image = noise(40, 30)
    result = BlipTest(size=16, mean=(0, 0, 0), std=(1, 1, 1))(image, generator())
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(8, 90),
    height=st.integers(8, 90),
    size=st.integers(1, 70),
    scale=st.tuples(st.floats(0.01, 4), st.floats(0.01, 4)).map(lambda pair: (min(pair), max(pair))),
    seed=st.integers(0, 1000),
)
def test_any_picture_gives_a_finite_tensor(
    width: int, height: int, size: int, scale: tuple[float, float], seed: int
) -> None:
    transform = BlipTrain(
        size=size,
        scale=scale,
        color_jitter=ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5),
        grayscale_probability=0.3,
        blur_probability=0.5,
        background="random",
        randaugment=RandAugment(operations=3, magnitude=9, probability=1),
    )
    image = noise(width, height)
    before = image.tobytes()
    tensor = transform(image, generator(seed))
    assert tensor.shape == (3, size, size)
    assert tensor.isfinite().all()
    assert image.tobytes() == before, "a cached picture must not change"


def test_equal_generators_give_equal_pictures_and_no_global_randomness_is_used() -> None:
    transform = BlipTrain(size=32, blur_probability=0.5, color_jitter=ColorJitter(hue=0.1))
    image = noise()
    torch.manual_seed(1)
    first = [transform(image, generator(seed)) for seed in range(20)]
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    second = [transform(image, generator(seed)) for seed in range(20)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len({tensor.numpy().tobytes() for tensor in first}) == 20


def test_one_generator_gives_one_picture_after_another() -> None:
    transform, shared = BlipTrain(size=16), generator()
    assert not torch.equal(transform(noise(), shared), transform(noise(), shared))


def augmented(transform: BlipTrain, image: Image.Image, count: int = 200) -> list[np.ndarray]:
    picture = DecodedPicture(image)
    return [np.asarray(transform.augment(picture, Draws(generator(seed)))) for seed in range(count)]


def test_with_everything_off_the_whole_picture_comes_back() -> None:
    transform = BlipTrain(size=64, scale=(1, 1), ratio=(1, 1), flip=False, randaugment=PLAIN)
    for result in augmented(transform, quarters(), 20):
        assert np.array_equal(result, np.asarray(quarters()))


def test_flip_mirrors_half_of_the_pictures_and_can_be_turned_off() -> None:
    transform = BlipTrain(size=64, scale=(1, 1), ratio=(1, 1), randaugment=PLAIN)
    whole, mirrored = np.asarray(quarters()), np.asarray(quarters())[:, ::-1]
    results = augmented(transform, quarters())
    assert all(np.array_equal(r, whole) or np.array_equal(r, mirrored) for r in results)
    assert 70 < sum(np.array_equal(r, mirrored) for r in results) < 130


def test_crops_cover_the_share_of_the_area_that_scale_says() -> None:
    # Each pixel's colour is its place, so a crop's corners say what it covers.
    ramp = np.linspace(0, 255, 256).astype(np.uint8)
    place = np.stack([*np.meshgrid(ramp, ramp), np.zeros((256, 256), np.uint8)], axis=2)
    transform = BlipTrain(size=64, scale=(0.2, 0.6), flip=False, randaugment=PLAIN)
    shares, ratios = [], []
    for result in augmented(transform, Image.fromarray(place)):
        width, height = (float(np.ptp(result[..., axis])) * 64 / 63 for axis in (0, 1))
        shares.append(width * height / 256**2)
        ratios.append(width / height)
    assert 0.17 < min(shares) < 0.25
    assert 0.53 < max(shares) < 0.64
    assert 0.7 < min(ratios) < 0.85
    assert 1.2 < max(ratios) < 1.42


def test_a_scale_above_one_shows_the_whole_picture_on_a_larger_canvas() -> None:
    red = Image.new("RGB", (64, 64), "red")
    transform = BlipTrain(size=64, scale=(4, 4), ratio=(1, 1), flip=False, randaugment=PLAIN)
    corners = set()
    for result in augmented(transform, red, 60):
        is_red = (result == (255, 0, 0)).all(axis=2)
        rows, columns = np.flatnonzero(is_red.any(axis=1)), np.flatnonzero(is_red.any(axis=0))
        assert len(rows) in (31, 32, 33)
        assert len(columns) in (31, 32, 33)
        assert (result[~is_red] == 255).all()
        corners.add((rows[0], columns[0]))
    assert len(corners) > 40


def test_the_canvas_can_have_a_random_colour() -> None:
    transform = BlipTrain(
        size=32, scale=(4, 4), ratio=(1, 1), flip=False, randaugment=PLAIN, background="random"
    )
    results = augmented(transform, Image.new("RGB", (64, 64), "red"), 40)
    colours = {tuple(colour) for r in results for colour in r.reshape(-1, 3) if tuple(colour) != (255, 0, 0)}
    assert len(colours) == 40


def test_elongated_pictures_fall_back_to_the_largest_box_of_an_allowed_ratio() -> None:
    transform = BlipTrain(size=32, scale=(1, 1), ratio=(0.75, 4 / 3))
    assert transform._box((200, 20), Draws(generator())) == pytest.approx((20 * 4 / 3, 20))
    assert transform._box((20, 200), Draws(generator())) == pytest.approx((20, 20 / 0.75))


def test_grayscale_and_saturation_and_blur() -> None:
    base: dict[str, Any] = {"size": 64, "scale": (1, 1), "ratio": (1, 1), "flip": False, "randaugment": PLAIN}
    for result in augmented(BlipTrain(**base, grayscale_probability=1.0), noise(), 5):
        assert (np.ptp(result.astype(int), axis=2) <= 1).all()
    coloured = sum((np.ptp(r.astype(int), axis=2) > 1).any() for r in
                   augmented(BlipTrain(**base, grayscale_probability=0.5), noise()))  # fmt: skip
    assert 70 < coloured < 130
    sharp = np.asarray(noise()).std()
    assert all(r.std() < sharp for r in augmented(BlipTrain(**base, blur_probability=1.0), noise(), 20))


def test_an_augmentation_costs_far_below_a_millisecond() -> None:
    transform = BlipTrain(
        size=64,
        scale=(0.4, 1.6),
        color_jitter=ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05),
        blur_probability=0.2,
    )
    image, shared = noise(), generator()
    times = []
    for _ in range(8):
        start = time.process_time()
        for _ in range(50):
            transform(image, shared)
        times.append((time.process_time() - start) / 50)
    assert min(times) < 2e-3, "a slow machine is given some room"


def photograph(width: int, height: int, **options: Any) -> bytes:
    """A JPEG with soft shapes, as drawn from a fixed seed."""
    small = Image.fromarray(np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    return encode(small.resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=90, **options)


class Spy(EncodedPicture):
    """A picture that notes how it was decoded."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reductions: list[int] = []

    def decode(self, reduction: int = 1) -> Image.Image:
        self.reductions.append(reduction)
        return super().decode(reduction)


def test_where_no_reduction_applies_an_encoded_picture_gives_the_very_same() -> None:
    data = photograph(120, 90)  # every crop is smaller than twice the result
    transform = BlipTrain(size=64)
    for seed in range(20):
        spy = Spy(data)
        lazy = transform.from_encoded(spy, generator(seed))
        assert torch.equal(lazy, transform(decode_image(data), generator(seed)))
        assert spy.reductions == [1]


def test_large_crops_are_decoded_smaller_and_look_the_same() -> None:
    data = photograph(640, 480)
    transform, whole = (
        BlipTrain(size=64, randaugment=PLAIN),
        BlipTrain(size=64, randaugment=PLAIN, draft=False),
    )
    differences, reductions = [], []
    for seed in range(40):
        spy, plain = Spy(data), Spy(data)
        one, other = (
            np.asarray(each.augment(picture, Draws(generator(seed)))).astype(int)
            for each, picture in ((transform, spy), (whole, plain))
        )
        differences.append(np.abs(one - other).mean())
        reductions += spy.reductions
        assert plain.reductions == [1]
    assert set(reductions) == {2, 4}
    assert np.mean(differences) < 1
    assert np.max(differences) < 2


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_crop_has_no_fewer_pixels_than_the_result(reduction: int) -> None:
    transform = BlipTrain(size=30, scale=(1, 1), ratio=(1, 1), flip=False, randaugment=PLAIN)
    for edge, expected in ((30 * reduction, reduction), (30 * reduction - 1, reduction // 2)):
        spy = Spy(photograph(edge, edge))
        transform.from_encoded(spy, generator())
        assert spy.reductions == [expected]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_are_cropped_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    transform = BlipTrain(size=48, scale=(0.9, 1), randaugment=PLAIN)
    for width, height in (
        (400, 304),
        (403, 301),
    ):  # of the second, turned, no reduced pixel would be in place
        data = photograph(width, height, exif=exif)
        for seed in range(4):
            lazy = np.asarray(transform.augment(EncodedPicture(data), Draws(generator(seed))))
            whole = np.asarray(transform.augment(DecodedPicture(decode_image(data)), Draws(generator(seed))))
            assert np.abs(lazy.astype(int) - whole).mean() < 2


@pytest.mark.parametrize(
    ("format", "mode"), [("PNG", "RGBA"), ("PNG", "L"), ("WEBP", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L")]
)
def test_other_kinds_of_pictures_come_through(format: str, mode: str) -> None:
    image = Image.open(io.BytesIO(photograph(300, 200))).convert(mode)
    data = encode(image, format)
    transform = BlipTrain(size=32, randaugment=PLAIN)
    lazy = transform.from_encoded(EncodedPicture(data), generator())
    whole = transform(decode_image(data), generator())
    assert (lazy - whole).abs().mean() < 0.05


def test_auto_flip_leaves_pictures_alone_whose_text_says_left_or_right() -> None:
    transform = BlipTrain(size=64, scale=(1, 1), ratio=(1, 1), randaugment=PLAIN, flip="auto")
    whole = np.asarray(quarters())
    for text in ("a dog on the left", "Right-hand drive", "the leftmost cup"):
        results = augmented(transform.for_text(text), quarters(), 40)
        assert all(np.array_equal(result, whole) for result in results), text
    for text in ("a copyright sign", "a dog that is brightly lit", "cleft"):
        assert transform.for_text(text) is transform
    assert any(not np.array_equal(result, whole) for result in augmented(transform, quarters(), 40))


def test_blips_flip_reads_no_text() -> None:
    transform = BlipTrain(size=64)
    assert transform.for_text("a dog on the left") is transform


def test_directions_of_other_languages() -> None:
    transform = BlipTrain(flip="auto", directions=("link*", "recht*", "gauche", "*左*"))
    for text in ("das Haus zur Linken", "rechts ein Baum", "la main gauche", "一只狗在左边"):
        assert not transform.for_text(text).flip, text
    for text in ("a dog on the left", "ein Haus", "gauchement", "一只狗"):
        assert transform.for_text(text).flip, text
