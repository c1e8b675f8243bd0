"""What the host's data components take, and the ``data`` part of a stage. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mmtk.config import Input, Range, Slot, node
from mmtk.kinds import Blueprint, ImageTransform, Reader, TextTransform

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class WebDatasetConfig:
    """Reads image-text pairs from WebDataset tar shards."""

    path: Annotated[Path | tuple[Path, ...], Input("dataset")]
    """a folder of `*.tar` shards, a shard, a pattern (`a-*.tar`, `a-{0000..0123}.tar`) or a list of these"""
    source: str | None = None
    """where the texts come from (`web`, `human`, …); overrides what the shards say"""


@dataclass(frozen=True, kw_only=True)
class BlipJsonConfig:
    """Reads image-text pairs from BLIP's JSON lists."""

    annotations: Annotated[Path | tuple[Path, ...], Input("annotations")]
    """a JSON list, or several, of items with `image`, `caption` (one or a list) and perhaps `image_id`"""
    images: Annotated[Path, Input("images")]
    """the folder that the items' `image` paths start from"""
    source: str = ""
    """where the texts come from (`web`, `human`, …)"""


@dataclass(frozen=True, kw_only=True)
class FoldConfig:
    """Takes a part of another reader's samples, so that a filter can judge pairs it was not trained on."""

    reader: Annotated[Blueprint[Reader], Slot("reader")]
    """the whole dataset"""
    fold: Annotated[int, Range(0, None)]
    """which part, counted from 0: the samples whose index modulo `folds` it is. Samples of one image may
    fall into different parts; where that matters, give the image one sample with several texts."""
    folds: Annotated[int, Range(2, None)] = 2
    """number of parts"""
    rest: bool = False
    """take all but that part"""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.fold >= self.folds:
            yield "fold", f"must be below folds ({self.folds}), not {self.fold}"


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Random picture operations as BLIP draws them, with replacement."""

    operations: Annotated[int, Range(0, None)] = 2
    """how many operations are drawn; 0 turns RandAugment off"""
    magnitude: Annotated[int, Range(0, 10)] = 5
    """strength; at 5 BLIP's brightness and sharpness factors are exactly 1 and change nothing"""
    probability: Annotated[float, Range(0, 1)] = 0.5
    """chance that a drawn operation is applied"""
    corrected: bool = False
    """brightness and sharpness by a factor of 1 + or - 0.09 x magnitude, as in torchvision's RandAugment, and
    not by BLIP's 0.1 + 0.18 x magnitude, which leaves pictures as they are at magnitude 5"""


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Random changes of colour; 0 turns a change off."""

    brightness: Annotated[float, Range(0, 1)] = 0.0
    """the factor is drawn from 1 - x to 1 + x"""
    contrast: Annotated[float, Range(0, 1)] = 0.0
    """the factor is drawn from 1 - x to 1 + x; 0 would be a plain grey picture"""
    saturation: Annotated[float, Range(0, 1)] = 0.0
    """the factor is drawn from 1 - x to 1 + x; 0 would be grey tones"""
    hue: Annotated[float, Range(0, 0.5)] = 0.0
    """greatest turn of the colour circle either way, in full turns"""


BLIP_RANDAUGMENT = RandAugment()
NO_COLOR_JITTER = ColorJitter()
DIRECTIONS = ("left", "right", "leftmost", "rightmost")


@dataclass(frozen=True, kw_only=True)
class BlipTrainConfig:
    """BLIP's training augmentation, with further knobs (off by default) for small data."""

    size: Annotated[int, Range(1, None)] = 224
    """edge of the square result, in pixels"""
    scale: tuple[float, float] = (0.2, 1.0)
    """share of the picture's area that a crop covers; above 1 the picture is shrunk onto a larger canvas"""
    ratio: tuple[float, float] = (0.75, 4 / 3)
    """width to height of a crop, before it is made square"""
    flip: bool | Literal["auto"] = True
    """mirror every other picture (BLIP does); `auto` leaves those alone whose text has one of the words of
    `directions`"""
    directions: tuple[str, ...] = DIRECTIONS
    """words that `flip: auto` looks for, in any case; a `*` stands for any letters, e.g. `recht*` for German
    or `*左*` for a language that has no spaces"""
    draft: bool = True
    """decode a JPEG at half, a quarter or an eighth of its size where the crop still has more pixels than the
    result; it is faster, and differs by one or two of 255 in the mean"""
    randaugment: RandAugment = BLIP_RANDAUGMENT
    """BLIP's ten operations; BLIP §4.1 uses 2 of them at magnitude 5"""
    color_jitter: ColorJitter = NO_COLOR_JITTER
    """brightness, contrast, saturation and hue"""
    grayscale_probability: Annotated[float, Range(0, 1)] = 0.0
    """chance that a picture loses its colours"""
    blur_probability: Annotated[float, Range(0, 1)] = 0.0
    """chance of a Gaussian blur, of radius 0.1% to 1.5% of the picture's edge"""
    background: Literal["white", "random"] = "white"
    """colour of the canvas around a shrunk picture"""
    mean: tuple[float, float, float] = CLIP_MEAN
    """subtracted from each channel, on a scale of 0 to 1"""
    std: tuple[float, float, float] = CLIP_STD
    """each channel is divided by it"""

    def check(self) -> Iterator[tuple[str, str]]:
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                yield name, f"must be two numbers with 0 < low <= high, not ({low:g}, {high:g})"
        if min(self.std) <= 0:
            yield "std", "must be above 0"
        if not self.directions or not all(word.strip("*") for word in self.directions):
            yield "directions", "needs words; to mirror all pictures, write flip: true"


@dataclass(frozen=True, kw_only=True)
class BlipTestConfig:
    """BLIP's test transform: a square resize, without a crop."""

    size: Annotated[int, Range(1, None)] = 224
    """edge of the square result, in pixels"""
    mean: tuple[float, float, float] = CLIP_MEAN
    """subtracted from each channel, on a scale of 0 to 1"""
    std: tuple[float, float, float] = CLIP_STD
    """each channel is divided by it"""

    def check(self) -> Iterator[tuple[str, str]]:
        if min(self.std) <= 0:
            yield "std", "must be above 0"


@dataclass(frozen=True, kw_only=True)
class BlipCaptionConfig:
    """BLIP's caption cleaning: lower case, most punctuation becomes a space, at most `max_words` words."""

    max_words: Annotated[int, Range(1, None)] = 30
    """further words are cut off; the prompt's are not counted"""
    prompt: str = ""
    """words put before every caption, e.g. `a picture of`"""


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """Which pictures are quarantined, judged by their size before they are decoded, and which texts."""

    min_edge: Annotated[int, Range(1, None)] = 8
    """least number of pixels of the shorter edge (BLIP drops web pictures below 256)"""
    max_aspect: Annotated[float, Range(1, None)] = 20.0
    """greatest ratio of the longer to the shorter edge"""
    max_pixels: Annotated[int, Range(1, None)] = 64_000_000
    """greatest number of pixels, against decompression bombs; Pillow refuses more than 178 million anyway"""
    max_text_length: Annotated[int, Range(1, None)] = 10_000
    """greatest number of characters of a text"""


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One dataset of a mixture."""

    reader: Annotated[Blueprint[Reader], Slot("reader")]
    """the dataset"""
    weight: Annotated[float, Range(0, None, low_open=True)] = 1.0
    """passes over it per epoch: 2 takes each sample twice, 0.5 half of them and the other half next time"""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a training stage reads, and how."""

    sources: Mapping[str, SourceConfig]
    """the datasets, by name; they are shuffled into one another"""
    image_transform: Annotated[Blueprint[ImageTransform], Slot("image_transform")] = node("blip_train")
    """from decoded pictures to tensors"""
    text_transform: Annotated[Blueprint[TextTransform], Slot("text_transform")] = node("blip_caption")
    """from raw texts to what the tokenizer reads"""
    batch_size: Annotated[int, Range(1, None)] = 64
    """pairs per batch"""
    workers: Annotated[int, Range(0, None)] = 0
    """threads that read ahead; 0 reads when a batch is asked for. The batches don't depend on it."""
    limits: ImageLimits = DEFAULT_LIMITS
    """which pictures are quarantined"""
    cache_decoded: bool = False
    """keep every decoded picture in memory (12 KB each at 64x64): worth it for small pictures only"""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.sources:
            yield "sources", "needs at least one source"


@dataclass(frozen=True, kw_only=True)
class EvaluationDataConfig:
    """What an evaluating or captioning stage reads, in order."""

    reader: Annotated[Blueprint[Reader], Slot("reader")]
    """the dataset"""
    image_transform: Annotated[Blueprint[ImageTransform], Slot("image_transform")] = node("blip_test")
    """from decoded pictures to tensors"""
    text_transform: Annotated[Blueprint[TextTransform], Slot("text_transform")] = node("blip_caption")
    """from raw texts to what the tokenizer reads"""
    batch_size: Annotated[int, Range(1, None)] = 64
    """pairs per batch"""
    workers: Annotated[int, Range(0, None)] = 0
    """threads that read ahead; 0 reads when a batch is asked for. The batches don't depend on it."""
    limits: ImageLimits = DEFAULT_LIMITS
    """which pictures are quarantined"""
