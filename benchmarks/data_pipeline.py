"""How many training samples a second one core makes ready, beside torchvision's transforms.

Both sides read the same tar shard of synthesised JPEGs and do BLIP's training transform: a random resized
crop, a flip, two operations of RandAugment, normalising. Times are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import shlex
import statistics
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F  # noqa: N812

from benchmarks.arguments import positive
from mmtk.data.configs import CLIP_MEAN, CLIP_STD, DataConfig, SourceConfig
from mmtk.data.images.decode import EncodedPicture
from mmtk.data.images.draws import Draws
from mmtk.data.images.transforms import BlipTrain
from mmtk.data.loading import Loaded, collate
from mmtk.data.pipeline import Built, TrainingData
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.data.texts import BlipCaption

FILL = (128, 128, 128)
MAGNITUDE = 5
AIM = 400.0
KILOBYTE, MILLISECOND = 1e3, 1e-3


def photograph(seed: int, width: int, height: int) -> Image.Image:
    """A picture whose spectrum falls off as those of photographs do, some more and some less steeply."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf  # no constant part

    def field_(falloff: float) -> np.ndarray:
        real, imaginary = generator.normal(size=(2, *frequency.shape))
        values = np.fft.irfft2((real + 1j * imaginary) / frequency**falloff, (height, width))
        return values / values.std()

    light = 128 + 50 * field_(generator.uniform(1.15, 1.6))
    red, blue = 25 * field_(1.6), 25 * field_(1.6)
    pixels = np.stack([light + red, light - (red + blue) / 2, light + blue], axis=-1)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_shard(path: Path, samples: int, width: int, height: int) -> float:
    """Write a shard of JPEGs with captions and return their mean size in bytes."""
    sizes = []
    with tarfile.open(path, "w") as tar:
        for number in range(samples):
            file = io.BytesIO()
            photograph(number, width, height).save(file, "JPEG", quality=90)
            caption = f"A picture of number {number}, made for no other purpose."
            for suffix, data in (("jpg", file.getvalue()), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            sizes.append(len(file.getvalue()))
    return statistics.mean(sizes)


class PublicRandAugment:
    """BLIP's ten operations at magnitude 5 by torchvision, on Pillow's pictures."""

    def __call__(self, image: Image.Image) -> Image.Image:
        for operation in random.choices(self._operations(), k=2):
            if random.random() <= 0.5:
                image = operation(image, random.choice((-1, 1)))
        return image

    @staticmethod
    def _operations() -> list[Callable[[Image.Image, int], Image.Image]]:
        strength = MAGNITUDE / 10

        def affine(image: Image.Image, shift: list[float], shear: list[float]) -> Image.Image:
            how = InterpolationMode.BILINEAR
            return F.affine(image, 0.0, shift, 1.0, shear, interpolation=how, fill=FILL)

        angle = math.degrees(math.atan(0.3 * strength))
        return [
            lambda image, _: image,
            lambda image, _: F.autocontrast(image),
            lambda image, _: F.adjust_brightness(image, 1.8 * strength + 0.1),
            lambda image, _: image,  # the public sharpness returns at once where its factor is 1
            lambda image, _: F.equalize(image),
            lambda image, sign: affine(image, [0, 0], [sign * angle, 0]),
            lambda image, sign: affine(image, [0, 0], [0, sign * angle]),
            lambda image, sign: affine(image, [sign * 10 * strength, 0], [0, 0]),
            lambda image, sign: affine(image, [0, sign * 10 * strength], [0, 0]),
            lambda image, sign: F.rotate(image, sign * 30 * strength, InterpolationMode.BILINEAR, fill=FILL),
        ]


def public_transform(size: int) -> Callable[[Image.Image], Tensor]:
    """BLIP's training transform of torchvision's parts."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.2, 1.0), interpolation=InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            PublicRandAugment(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )


class Public:
    """Batches by torchvision."""

    def __init__(self, reader: WebDatasetReader, size: int, batch_size: int) -> None:
        self._reader = reader
        self._transform = public_transform(size)
        self._clean = BlipCaption()
        self._batch_size = batch_size

    def epoch(self, epoch: int) -> Iterator[object]:
        order = np.random.default_rng(epoch).permutation(len(self._reader)).tolist()
        for start in range(0, len(order), self._batch_size):
            yield collate([self._load(index) for index in order[start : start + self._batch_size]])

    def _load(self, index: int) -> Loaded:
        sample = self._reader[index]
        image = self._transform(Image.open(io.BytesIO(sample.image)).convert("RGB"))
        return Loaded(sample.key, sample.image_id, image, self._clean(sample.texts[0]))


@dataclass
class Clock:
    """CPU seconds by name."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.thread_time()
        yield
        self.seconds[name] += time.thread_time() - started


class TimedPicture:
    """A picture whose decoding is timed."""

    def __init__(self, picture: EncodedPicture, clock: Clock) -> None:
        self._picture = picture
        self._clock = clock
        self.size = picture.size

    def decode(self, reduction: int = 1) -> Image.Image:
        with self._clock.timed("decode"):
            return self._picture.decode(reduction)


def parts(reader: WebDatasetReader, size: int, draft: bool) -> dict[str, float]:
    """Seconds a sample of each part of mmtk's way, and of plain decoding."""
    clock, transform = Clock(), BlipTrain(size=size, draft=draft)
    for index in range(len(reader)):
        with clock.timed("read"):
            data = reader[index].image
        with clock.timed("plain decode"):
            Image.open(io.BytesIO(data)).convert("RGB")
        with clock.timed("header"):
            picture = EncodedPicture(data)
            draws = Draws(torch.Generator().manual_seed(index))
        with clock.timed("decode and crop"):
            crop = transform.crop(TimedPicture(picture, clock), draws)
        with clock.timed("augment"):
            image = transform.distort(crop, draws)
        with clock.timed("normalise"):
            transform.normalize(image)
    seconds = {name: total / len(reader) for name, total in clock.seconds.items()}
    both = seconds.pop("decode and crop")
    return {**seconds, "crop": both - seconds["decode"]}


def seconds_a_sample(epochs: Iterable[Iterator[object]], samples: int) -> list[float]:
    """CPU seconds a sample, of each epoch."""
    found = []
    for batches in epochs:
        started = time.process_time()
        for _ in batches:
            pass
        found.append((time.process_time() - started) / samples)
    return found


@dataclass(frozen=True)
class Measured:
    """CPU seconds a sample.

    Attributes:
        ours: end to end, by mmtk.
        whole: likewise, with every picture decoded as a whole.
        public: end to end, by torchvision.
        parts: of mmtk, by part.
        file_size: mean size of a picture's file, in bytes.
    """

    ours: float
    whole: float
    public: float
    parts: dict[str, float]
    file_size: float


def measure(options: argparse.Namespace) -> Measured:
    """Time all sides in turns and take the medians."""
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "shard-000000.tar"
        file_size = write_shard(shard, options.samples, options.width, options.height)
        reader = WebDatasetReader(shard)
        sides = {
            "ours": ours(reader, options, draft=True),
            "whole": ours(reader, options, draft=False),
            "public": Public(reader, options.size, options.batch),
        }
        times: dict[str, list[float]] = defaultdict(list)
        for epoch in range(options.repeats + 1):
            for name, side in sides.items():
                (seconds,) = seconds_a_sample([side.epoch(epoch)], options.samples)
                times[name] += [seconds] if epoch else []  # the first fills caches
        rounds = [parts(reader, options.size, draft=True) for _ in range(options.repeats + 1)][1:]
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return Measured(
        **{name: statistics.median(values) for name, values in times.items()},
        parts=middle,
        file_size=file_size,
    )


def ours(reader: WebDatasetReader, options: argparse.Namespace, draft: bool) -> TrainingData:
    """mmtk's batches, made in the calling thread."""
    config = DataConfig(
        sources={"shard": SourceConfig(reader=Built(reader))},
        image_transform=Built(BlipTrain(size=options.size, draft=draft)),
        text_transform=Built(BlipCaption()),
        batch_size=options.batch,
    )
    return TrainingData(config, seed=0)


def table(measured: Measured, command: str) -> str:
    """Write the results as Markdown."""
    rows = {
        "mmtk, end to end": measured.ours,
        "mmtk, end to end, without draft mode": measured.whole,
        "torchvision, end to end": measured.public,
        "mmtk: read from the shard": measured.parts["read"],
        "mmtk: header and draws": measured.parts["header"],
        "mmtk: decode": measured.parts["decode"],
        "mmtk: crop and resize": measured.parts["crop"],
        "mmtk: flip and RandAugment": measured.parts["augment"],
        "mmtk: normalise": measured.parts["normalise"],
        "Pillow: decode": measured.parts["plain decode"],
    }
    lines = ["| | ms a sample | samples a second and core |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {value / MILLISECOND:.2f} | {1 / value:.0f} |" for name, value in rows.items()]
    note = (
        f"Made by `{command}` with torch {version('torch')}, torchvision {version('torchvision')} and Pillow "
        f"{version('pillow')}, one thread ({torch.backends.cpu.get_cpu_capability()}), on files of "
        f"{measured.file_size / KILOBYTE:.0f} KB in the mean. mmtk is {measured.public / measured.ours:.2f} "
        f"times as fast as torchvision; the aim is {AIM:.0f} samples."
    )
    return "\n".join([*lines, "", note])


def as_json(measured: Measured) -> str:
    """Samples a second and core, end to end, as one JSON object."""
    return json.dumps(
        {
            "name": "data_pipeline",
            "value": 1 / measured.ours,
            "unit": "samples/s",
            "baseline": 1 / measured.public,
            "ratio": measured.public / measured.ours,
        }
    )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    for name, default, meaning in (
        ("repeats", 5, "timed epochs of each side"),
        ("samples", 128, "pictures in the shard"),
        ("batch", 32, "pairs per batch"),
        ("size", 224, "edge of a training picture"),
        ("width", 640, "of the files' pictures"),
        ("height", 480, "of the files' pictures"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=meaning)
    return parser


def main(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    torch.set_num_threads(1)
    random.seed(0)
    torch.manual_seed(0)
    measured = measure(options)
    command = shlex.join(["python", "-m", "benchmarks.data_pipeline", *argv])
    print(as_json(measured) if options.json else table(measured, command))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
