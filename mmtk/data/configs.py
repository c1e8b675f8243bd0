"""What the host's data components take, and the ``data`` part of a stage. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from mmtk.config import Range, Slot, node
from mmtk.kinds import Blueprint, ImageTransform, Reader, Stream, TextTransform

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


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

    # For 'mmtk show': neither key is required, but one of them is.
    EXAMPLE: ClassVar[Mapping[str, object]] = MappingProxyType(
        {"reader": {"use": "webdataset", "path": "path/to/dataset"}}
    )

    reader: Annotated[Blueprint[Reader] | None, Slot("reader")] = None
    """the dataset, if its samples can be read in any order"""
    stream: Annotated[Blueprint[Stream] | None, Slot("stream")] = None
    """the dataset, if it can only be read from front to back"""
    samples: Annotated[int | None, Range(1, None)] = None
    """samples that an epoch takes of a stream, as its length isn't known; the next one goes on behind them"""
    shuffle_buffer: Annotated[int, Range(1, None)] = 1000
    """samples of a stream that are held in memory, as they were read, to be shuffled"""
    weight: Annotated[float, Range(0, None, low_open=True)] = 1.0
    """passes over it per epoch: 2 takes each sample twice, 0.5 half of them and the other half next time"""
    share: Annotated[float | None, Range(0, None, low_open=True)] = None
    """its part of an epoch's `samples_per_epoch`, in proportion to the other sources' shares"""

    def check(self) -> Iterator[tuple[str, str]]:
        if (self.reader is None) == (self.stream is None):
            yield "reader", "a source has a `reader` or a `stream`, and not both"
        if self.stream is not None and self.samples is None and self.share is None:
            yield "samples", "must be given for a stream: its length isn't known"
        if self.stream is None and self.samples is not None:
            yield "samples", "is for streams; `weight` says how much of a reader an epoch takes"
        if self.share is not None and (self.weight != 1 or self.samples is not None):
            yield "share", "takes the place of `weight` and `samples`"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a training stage reads, and how."""

    sources: Mapping[str, SourceConfig]
    """the datasets, by name; they are shuffled into one another"""
    samples_per_epoch: Annotated[int | None, Range(1, None)] = None
    """samples of an epoch where the sources have a `share`; without it they have a `weight`"""
    image_transform: Annotated[Blueprint[ImageTransform], Slot("image_transform")] = node("blip_train")
    """from decoded pictures to tensors"""
    text_transform: Annotated[Blueprint[TextTransform], Slot("text_transform")] = node("blip_caption")
    """from raw texts to what the tokenizer reads"""
    captions: Literal["random", "in_turn"] = "random"
    """which of an image's several texts comes: one is drawn, or each pass takes the next one"""
    batch_size: Annotated[int, Range(1, None)] = 64
    """pairs per batch; with several processes, of each of them"""
    workers: Annotated[int, Range(0, None)] = 0
    """threads that read ahead; 0 reads when a batch is asked for. The batches don't depend on it."""
    prefetch: Annotated[int, Range(1, None)] = 2
    """batches that each worker may be ahead"""
    limits: ImageLimits = DEFAULT_LIMITS
    """which pictures are quarantined"""
    max_quarantined: Annotated[float | None, Range(0, None)] = None
    """ends the stage at the first sample past it that can't be used, also one that is read ahead: a number of
    samples or, below 1, a share of those tried, once these are 100; an index may refuse several at once, of
    which none is left out; each process counts its own, and in a number those of all processes that a saved
    state has, once it goes on from one"""
    cache_decoded: bool = False
    """keep every decoded picture of the readers in memory (12 KB each at 64x64): for small pictures only"""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.sources:
            yield "sources", "needs at least one source"
        for name, source in self.sources.items():
            if self.samples_per_epoch is None and source.share is not None:
                yield "samples_per_epoch", f"must be given: source {name!r} has a `share`"
            if self.samples_per_epoch is not None and source.share is None:
                yield "samples_per_epoch", f"needs a `share` of every source, and {name!r} has none"


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
    prefetch: Annotated[int, Range(1, None)] = 2
    """batches that each worker may be ahead"""
    limits: ImageLimits = DEFAULT_LIMITS
    """which pictures are quarantined"""
    max_quarantined: Annotated[float | None, Range(0, None)] = None
    """ends the stage at the first sample past it that can't be used: a number of samples or, below 1, a share
    of those tried, once these are 100; an index may refuse several at once, of which none is left out;
    `capfilt` looks after each part, and adds to a number what an interrupted run met"""
