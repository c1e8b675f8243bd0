"""From one sample of a reader to what a batch holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mmtk.data.configs import ImageLimits
from mmtk.data.decode import decode_image
from mmtk.errors import DataError, SampleError
from mmtk.kinds import ImageTransform, Reader, TextTransform
from mmtk.types import Batch, RawSample, stable_hash


class Loaded(NamedTuple):
    """A sample that is ready for a batch: its image ``(3, H, W)`` float32 and its cleaned text."""

    key: str
    image_id: str
    image: Tensor
    text: str


class Decoded(NamedTuple):
    """A sample after what is the same each time it is drawn."""

    key: str
    image_id: str
    image: Image.Image
    texts: tuple[str, ...]


class Loader:
    """Reads, cleans, decodes and transforms the samples of one reader. Safe to share between threads."""

    def __init__(
        self,
        reader: Reader,
        image_transform: ImageTransform,
        text_transform: TextTransform,
        limits: ImageLimits,
        cache_decoded: bool = False,
    ) -> None:
        self.reader = reader
        self.image_transform = image_transform
        self.text_transform = text_transform
        self.limits = limits
        self._cache: dict[int, Decoded] | None = {} if cache_decoded else None

    def load(self, index: int, generator: torch.Generator, *, draw_text: bool) -> Loaded:
        """Load one sample.

        Args:
            index: the sample's index in the reader.
            generator: what the text's choice and the augmentation are drawn from.
            draw_text: choose one of several texts at random, else the first.

        Raises SampleError when no text is left or the image can't be used.
        """
        decoded = self._decoded(index)
        choices = len(decoded.texts) if draw_text else 1
        choice = int(torch.randint(choices, (), generator=generator)) if choices > 1 else 0
        image = self.image_transform(decoded.image, generator)
        return Loaded(decoded.key, decoded.image_id, image, decoded.texts[choice])

    def _decoded(self, index: int) -> Decoded:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        sample = self.read(index)
        try:
            image = decode_image(sample.image, self.limits)
            decoded = Decoded(sample.key, sample.image_id, image, self.texts(sample))
        except DataError as error:
            raise SampleError(str(error), sample.key, sample.location) from error
        if self._cache is not None:
            self._cache[index] = decoded
        return decoded

    def read(self, index: int) -> RawSample:
        """Read a sample as it is. Raises SampleError when the reader can't."""
        try:
            return self.reader[index]
        except SampleError:
            raise
        except DataError as error:
            raise SampleError(str(error), f"sample {index}", "") from error

    def texts(self, sample: RawSample) -> tuple[str, ...]:
        """Return the cleaned texts but for those of which nothing is left. Raises DataError without any."""
        texts = []
        refusal = DataError("no text")
        for text in sample.texts:
            try:
                texts.append(self.text_transform(text))
            except DataError as error:
                refusal = error
        if not texts:
            raise refusal
        return tuple(texts)


def collate(samples: Sequence[Loaded]) -> Batch:
    """Join loaded samples to a batch."""
    return Batch(
        images=torch.stack([sample.image for sample in samples]),
        texts=tuple(sample.text for sample in samples),
        image_ids=torch.tensor([stable_hash(sample.image_id) for sample in samples], dtype=torch.int64),
        keys=tuple(sample.key for sample in samples),
    )
