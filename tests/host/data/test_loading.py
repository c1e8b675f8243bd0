from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mmtk.data.configs import DEFAULT_LIMITS, ImageLimits
from mmtk.data.images.decode import EncodedPicture
from mmtk.data.images.transforms import BlipTrain
from mmtk.data.loading import Loader, Preparation
from mmtk.data.texts import BlipCaption
from mmtk.errors import SampleError

from .samples import ListReader, encode, picture, sample


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loader(
    transform: Any, *samples: Any, limits: ImageLimits = DEFAULT_LIMITS, cache: bool = False
) -> Loader:
    return Loader(ListReader(samples), Preparation(transform, BlipCaption(), limits), cache)


class Plain:
    """A third party's transform, which knows of Pillow's pictures only."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        self.seen.append(image)
        return torch.rand(3, 4, 4, generator=generator)


class Lazy(Plain):
    def from_encoded(self, picture: EncodedPicture, generator: torch.Generator) -> Tensor:
        self.seen.append(picture)
        return self(picture.decode(), generator)


class Reads(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def for_text(self, text: str) -> Plain:
        self.texts.append(text)
        return self


def test_a_plain_transform_gets_a_decoded_picture() -> None:
    transform = Plain()
    loaded = loader(transform, sample(0)).load(0, generator(), None)
    (image,) = transform.seen
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (20, 16))
    assert torch.equal(loaded.image, torch.rand(3, 4, 4, generator=generator()))


def test_a_lazy_transform_decodes_itself_but_for_cached_pictures() -> None:
    transform = Lazy()
    loader(transform, sample(0)).load(0, generator(), None)
    assert isinstance(transform.seen[0], EncodedPicture)
    cached = loader(transform, sample(0), cache=True)
    for _ in range(2):
        cached.load(0, generator(), None)
    images = transform.seen[2:]
    assert all(isinstance(image, Image.Image) for image in images)
    assert images[0] is images[1]


def test_cached_and_lazily_decoded_pictures_give_the_same_batch() -> None:
    samples = [sample(number) for number in range(6)]
    for seed in range(6):
        ways = [loader(BlipTrain(size=12), *samples, cache=cache) for cache in (False, True)]
        one, other = (way.load(seed, generator(seed), None).image for way in ways)
        assert torch.equal(one, other)


@pytest.mark.parametrize("transform", [Plain(), BlipTrain(size=8)])
def test_damaged_pixels_and_headers_name_the_sample(transform: Any) -> None:
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    data = encode(large, "JPEG")
    bad = sample(0, image=data[: len(data) // 2], location="shard.tar")
    for one in (bad, sample(0, image=b"GIF?", location="shard.tar")):
        with pytest.raises(SampleError, match="unreadable image") as caught:
            loader(transform, one).load(0, generator(), None)
        assert (caught.value.key, caught.value.location) == ("key0000", "shard.tar")


def test_a_transform_that_reads_texts_gets_the_one_that_was_drawn() -> None:
    transform = Reads()
    made = loader(transform, sample(0, texts=("A cat!", "A Dog.")))
    drawn = [made.load(0, generator(seed), None).text for seed in range(12)]
    assert transform.texts == drawn
    assert set(drawn) == {"a cat", "a dog"}


def test_directions_in_the_text_keep_a_picture_from_being_mirrored() -> None:
    half = Image.new("RGB", (40, 40), "white")
    half.paste("black", (0, 0, 20, 40))
    one = sample(0, image=encode(half), texts=("black on the LEFT.",))
    transform = BlipTrain(size=40, scale=(0.99, 1), ratio=(1, 1), flip="auto")
    made = loader(transform, one)
    left = [made.load(0, generator(seed), None).image[:, 20, :8].mean() for seed in range(30)]
    assert max(left) < 0


def test_long_texts_are_refused_and_the_others_taken() -> None:
    long = "word " * 200_000
    made = loader(BlipTrain(size=8), sample(0, texts=(long, "fine")), sample(1, texts=(long,)))
    assert made.load(0, generator(), None).text == "fine"
    with pytest.raises(SampleError, match=r"text too long: 1000000 characters, more than 10000"):
        made.load(1, generator(), None)
    lax = loader(BlipTrain(size=8), sample(1, texts=(long,)), limits=ImageLimits(max_text_length=10**6))
    assert lax.load(0, generator(), None).text == " ".join(["word"] * 30)


def test_pictures_are_judged_before_they_are_decoded() -> None:
    made = loader(BlipTrain(size=8), sample(0, image=picture(30, 7)))
    with pytest.raises(SampleError, match="image too small: 30x7"):
        made.load(0, generator(), None)
