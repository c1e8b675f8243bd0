"""Image transforms: BLIP's for training and for testing."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from mmtk.data.configs import (
    BLIP_RANDAUGMENT,
    CLIP_MEAN,
    CLIP_STD,
    DIRECTIONS,
    NO_COLOR_JITTER,
    ColorJitter,
    RandAugment,
)
from mmtk.data.images.colors import jitter_matrix
from mmtk.data.images.draws import Draws
from mmtk.data.images.randaugment import augment
from mmtk.data.images.resize import Box, resized
from mmtk.data.texts import word_pattern
from mmtk.kinds import Picture

CROP_ATTEMPTS = 10
REDUCTIONS = (8, 4, 2)


class Normalize:
    """RGB picture to ``(3, H, W)`` float32, ``(value / 255 - mean) / std`` per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.factors = (1 / (255 * np.asarray(std, dtype=np.float64))).astype(np.float32)
        self.shifts = (-np.asarray(mean) / np.asarray(std)).astype(np.float32)

    def __call__(self, image: Image.Image) -> Tensor:
        # Pillow takes a row's channels apart faster than NumPy does.
        rows = np.frombuffer(image.tobytes("raw", "RGB;L"), np.uint8).reshape(image.height, 3, image.width)
        result = np.empty((3, image.height, image.width), dtype=np.float32)
        # Channel by channel, the whole is read and written once.
        for channel, (factor, shift) in enumerate(zip(self.factors, self.shifts, strict=True)):
            np.multiply(rows[:, channel], factor, out=result[channel])
            result[channel] += shift
        return torch.from_numpy(result)


class DecodedPicture:
    """A picture that is decoded already."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.size = image.size

    def decode(self, reduction: int = 1) -> Image.Image:  # noqa: ARG002 (there is nothing to save)
        return self._image


class BlipTest:
    """Square bicubic resize, without a crop (BLIP's test transform)."""

    def __init__(
        self, size: int = 224, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD
    ) -> None:
        self.size = size
        self.normalize = Normalize(mean, std)

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Tensor:  # noqa: ARG002 (nothing random)
        """Return ``(3, size, size)`` float32."""
        return self.normalize(image.resize((self.size, self.size), Image.Resampling.BICUBIC))


class BlipTrain:
    """Random resized crop, flip and RandAugment (BLIP's training transform), then what small data asks for.

    The order is crop, flip, RandAugment, colours, blur. Every draw comes from the generator given.
    """

    def __init__(
        self,
        size: int = 224,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (0.75, 4 / 3),
        flip: bool | Literal["auto"] = True,
        directions: Sequence[str] = DIRECTIONS,
        draft: bool = True,
        randaugment: RandAugment = BLIP_RANDAUGMENT,
        color_jitter: ColorJitter = NO_COLOR_JITTER,
        grayscale_probability: float = 0.0,
        blur_probability: float = 0.0,
        background: Literal["white", "random"] = "white",
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.flip = bool(flip)
        self.draft = draft
        self.randaugment = randaugment
        self.color_jitter = color_jitter
        self.grayscale_probability = grayscale_probability
        self.blur_probability = blur_probability
        self.background = background
        self.normalize = Normalize(mean, std)
        self._directions = word_pattern(directions) if flip == "auto" else None

    def for_text(self, text: str) -> Self:
        """Return this transform, or one that doesn't mirror when the text says where left and right are."""
        if self._directions is None or not self._directions.search(text):
            return self
        unmirrored = copy.copy(self)
        unmirrored.flip = False
        return unmirrored

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        """Return ``(3, size, size)`` float32."""
        return self.from_encoded(DecodedPicture(image), generator)

    def from_encoded(self, picture: Picture, generator: torch.Generator) -> Tensor:
        """Likewise, from a picture that isn't decoded yet. Raises DataError when that fails."""
        return self.normalize(self.augment(picture, Draws(generator)))

    def augment(self, picture: Picture, draws: Draws) -> Image.Image:
        """Return the augmented picture, ``size`` x ``size``."""
        return self.distort(self.crop(picture, draws), draws)

    def distort(self, image: Image.Image, draws: Draws) -> Image.Image:
        """Do with a crop what comes after cropping."""
        if self.flip and draws.chance(0.5):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = augment(image, self.randaugment, draws)
        grey = draws.chance(self.grayscale_probability)
        if grey or self.color_jitter != NO_COLOR_JITTER:
            image = image.convert("RGB", jitter_matrix(image, self.color_jitter, grey, draws))
        if draws.chance(self.blur_probability):
            image = image.filter(ImageFilter.GaussianBlur(draws.between(0.001, 0.015) * self.size))
        return image

    def crop(self, picture: Picture, draws: Draws) -> Image.Image:
        """Cut a random box out of the picture or, where the box is larger, put the picture into it."""
        edges = self._box(picture.size, draws)
        # As torchvision's RandomResizedCrop, boxes have whole pixels.
        width, height = (max(round(edge), 1) for edge in edges)
        left = _whole(draws, picture.size[0] - width)
        top = _whole(draws, picture.size[1] - height)
        inside = (
            max(left, 0),
            max(top, 0),
            min(left + width, picture.size[0]),
            min(top + height, picture.size[1]),
        )
        across, down = self.size / width, self.size / height
        target = (
            round((inside[0] - left) * across),
            round((inside[1] - top) * down),
            round((inside[2] - left) * across),
            round((inside[3] - top) * down),
        )
        part = self._cut(picture, inside, (max(target[2] - target[0], 1), max(target[3] - target[1], 1)))
        if part.size == (self.size, self.size):
            return part
        canvas = Image.new("RGB", (self.size, self.size), self._background(draws))
        canvas.paste(part, target[:2])
        return canvas

    def _cut(self, picture: Picture, box: Box, size: tuple[int, int]) -> Image.Image:
        """Resize what lies within the box, of a picture decoded no larger than that takes."""
        edges = box[2] - box[0], box[3] - box[1]
        fits = (r for r in REDUCTIONS if edges[0] >= r * size[0] and edges[1] >= r * size[1])
        reduction = next(fits, 1)
        image = picture.decode(reduction if self.draft else 1)
        # Whole pixels of the reduced picture, also when it isn't reduced, so that both show the same.
        unit = reduction if image.size == picture.size else 1
        left, top, right, bottom = (edge // reduction * unit for edge in box)
        return resized(image, (left, top, right, bottom), size)

    def _box(self, size: tuple[int, int], draws: Draws) -> tuple[float, float]:
        """Draw a box's width and height. One that is to lie within the picture is drawn until it does."""
        width, height = size
        logs = (math.log(self.ratio[0]), math.log(self.ratio[1]))
        for _ in range(CROP_ATTEMPTS):
            share = draws.between(*self.scale)
            ratio = math.exp(draws.between(*logs))
            box = (math.sqrt(width * height * share * ratio), math.sqrt(width * height * share / ratio))
            if share > 1 or (box[0] <= width and box[1] <= height):
                return box
        # As torchvision's RandomResizedCrop: the largest box of an allowed ratio.
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        return min(width, height * ratio), min(height, width / ratio)

    def _background(self, draws: Draws) -> tuple[int, int, int]:
        if self.background == "white":
            return (255, 255, 255)
        return (draws.below(256), draws.below(256), draws.below(256))


def _whole(draws: Draws, room: int) -> int:
    """Draw a whole number from 0 to ``room``, which may be negative, evenly."""
    return draws.below(room + 1) if room >= 0 else -draws.below(1 - room)
