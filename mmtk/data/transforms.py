"""Image transforms: BLIP's for training and for testing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from mmtk.data.colors import jitter_matrix
from mmtk.data.configs import (
    BLIP_RANDAUGMENT,
    CLIP_MEAN,
    CLIP_STD,
    NO_COLOR_JITTER,
    ColorJitter,
    RandAugment,
)
from mmtk.data.draws import Draws
from mmtk.data.randaugment import augment

CROP_ATTEMPTS = 10


class Normalize:
    """RGB picture to ``(3, H, W)`` float32, ``(value / 255 - mean) / std`` per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.factor = (1 / (255 * np.asarray(std, dtype=np.float64))).astype(np.float32).reshape(3, 1, 1)
        self.shift = (-np.asarray(mean) / np.asarray(std)).astype(np.float32).reshape(3, 1, 1)

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
        pixels *= self.factor
        pixels += self.shift
        return torch.from_numpy(pixels)


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
        flip: bool = True,
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
        self.flip = flip
        self.randaugment = randaugment
        self.color_jitter = color_jitter
        self.grayscale_probability = grayscale_probability
        self.blur_probability = blur_probability
        self.background = background
        self.normalize = Normalize(mean, std)

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        """Return ``(3, size, size)`` float32."""
        return self.normalize(self.augment(image, Draws(generator)))

    def augment(self, image: Image.Image, draws: Draws) -> Image.Image:
        """Return the augmented picture, ``size`` x ``size``."""
        image = self._crop(image, draws)
        if self.flip and draws.chance(0.5):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = augment(image, self.randaugment, draws)
        grey = draws.chance(self.grayscale_probability)
        if grey or self.color_jitter != NO_COLOR_JITTER:
            image = image.convert("RGB", jitter_matrix(image, self.color_jitter, grey, draws))
        if draws.chance(self.blur_probability):
            image = image.filter(ImageFilter.GaussianBlur(draws.between(0.001, 0.015) * self.size))
        return image

    def _crop(self, image: Image.Image, draws: Draws) -> Image.Image:
        """Cut a random box out of the picture or, where the box is larger, put the picture into it."""
        width, height = self._box(image.size, draws)
        left = draws.between(0, image.width - width)
        top = draws.between(0, image.height - height)
        inside = (max(left, 0), max(top, 0), min(left + width, image.width), min(top + height, image.height))
        across, down = self.size / width, self.size / height
        target = (
            round((inside[0] - left) * across),
            round((inside[1] - top) * down),
            round((inside[2] - left) * across),
            round((inside[3] - top) * down),
        )
        size = (max(target[2] - target[0], 1), max(target[3] - target[1], 1))
        part = image.resize(size, Image.Resampling.BICUBIC, box=inside)
        if size == (self.size, self.size):
            return part
        canvas = Image.new("RGB", (self.size, self.size), self._background(draws))
        canvas.paste(part, target[:2])
        return canvas

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
