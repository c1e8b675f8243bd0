"""From one sample of a reader to what a batch holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mmtk.data.configs import ImageLimits
from mmtk.data.decode import EncodedPicture, decode_image
from mmtk.errors import DataError, SampleError
from mmtk.kinds import ImageTransform, LazyImageTransform, Reader, TextAwareImageTransform, TextTransform
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
    image: Image.Image | EncodedPicture
    texts: tuple[str, ...]
    location: str


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
        # Asked once, because looking a protocol's methods up takes a while.
        self._lazy = isinstance(image_transform, LazyImageTransform) and not cache_decoded
        self._text_aware = isinstance(image_transform, TextAwareImageTransform)

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
        text = decoded.texts[choice]
        try:
            image = self._transformed(decoded.image, text, generator)
        except DataError as error:
            raise SampleError(str(error), decoded.key, decoded.location) from error
        return Loaded(decoded.key, decoded.image_id, image, text)

    def _transformed(
        self, image: Image.Image | EncodedPicture, text: str, generator: torch.Generator
    ) -> Tensor:
        transform: Any = self.image_transform
        if self._text_aware:
            transform = transform.for_text(text)
        transform = transform.from_encoded if self._lazy else transform
        return transform(image, generator)

    def _decoded(self, index: int) -> Decoded:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        sample = self.read(index)
        try:
            image = (EncodedPicture if self._lazy else decode_image)(sample.image, self.limits)
            decoded = Decoded(sample.key, sample.image_id, image, self.texts(sample), sample.location)
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
        longest = self.limits.max_text_length
        for text in sample.texts:
            if len(text) > longest:
                refusal = DataError(f"text too long: {len(text)} characters, more than {longest}")
                continue
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
