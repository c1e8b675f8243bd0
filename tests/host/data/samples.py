"""Pictures, samples and tar shards for the tests of the data plane."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image

from mmtk.data.configs import DataConfig, SourceConfig
from mmtk.data.images.transforms import BlipTest, BlipTrain
from mmtk.data.pipeline import Built
from mmtk.data.texts import BlipCaption
from mmtk.errors import DataError
from mmtk.types import Batch, Quarantined, RawSample


def picture(width: int = 20, height: int = 16, seed: int = 0, format: str = "PNG") -> bytes:
    """A picture of random colours, encoded."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return encode(Image.fromarray(pixels.numpy()), format)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def sample(number: int, **changes: object) -> RawSample:
    fields: dict[str, object] = {
        "key": f"key{number:04d}",
        "image": picture(seed=number),
        "texts": (f"text {number}",),
        "image_id": f"image{number}",
        "source": "web",
    }
    return RawSample(**(fields | changes))  # type: ignore[arg-type]


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def pair(key: str, text: bytes | None = b"a text", image: bytes | None = None) -> list[tuple[str, bytes]]:
    """The members of one sample."""
    members = [(f"{key}.png", picture() if image is None else image)]
    return members if text is None else [*members, (f"{key}.txt", text)]


class ListReader:
    """A reader over samples in memory; a sample that is None can't be read."""

    def __init__(self, samples: Sequence[RawSample | None], quarantined: Sequence[Quarantined] = ()) -> None:
        self.samples = samples
        self.quarantined = quarantined

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> RawSample:
        found = self.samples[index]
        if found is None:
            raise DataError(f"gone: {index}")
        return found


def training_config(readers: dict[str, tuple[ListReader, float]], **changes: object) -> DataConfig:
    fields: dict[str, object] = {
        "sources": {name: SourceConfig(reader=Built(r), weight=w) for name, (r, w) in readers.items()},
        "image_transform": Built(BlipTrain(size=12)),
        "text_transform": Built(BlipCaption()),
        "batch_size": 4,
    }
    return DataConfig(**(fields | changes))  # type: ignore[arg-type]


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a.keys == b.keys
        and a.texts == b.texts
        and torch.equal(a.images, b.images)
        and torch.equal(a.image_ids, b.image_ids)
        for a, b in zip(first, second, strict=True)
    )


def reader(count: int, bad: Collection[int] = (), prefix: str = "") -> ListReader:
    """Samples of two texts each; the pictures of ``bad`` ones are broken."""
    samples = [
        sample(
            n,
            key=f"{prefix}{n}",
            image=b"broken" if n in bad else picture(seed=n),
            texts=(f"a {n}", f"b {n}"),
        )
        for n in range(count)
    ]
    return ListReader(samples)


TEST_TRANSFORMS = (BlipTest(size=12), BlipCaption())
