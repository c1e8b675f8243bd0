"""From one sample of a dataset to what a batch holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mmtk.data.configs import ImageLimits
from mmtk.data.images.decode import EncodedPicture, decode_image
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


class Preparation:
    """Cleans, decodes and transforms samples. Safe to share between threads."""

    def __init__(
        self, image_transform: ImageTransform, text_transform: TextTransform, limits: ImageLimits
    ) -> None:
        self.image_transform: Any = image_transform
        self.text_transform = text_transform
        self.limits = limits
        # Asked once, because looking a protocol's methods up takes a while.
        self._lazy = isinstance(image_transform, LazyImageTransform)
        self._text_aware = isinstance(image_transform, TextAwareImageTransform)

    def decode(self, sample: RawSample, *, whole: bool = False) -> Decoded:
        """Clean the texts and decode the picture or, where its transform does that itself, read its header.

        Args:
            whole: decode the picture in any case, for one that is kept.

        Raises SampleError when no text is left or the image can't be used.
        """
        lazy = self._lazy and not whole
        try:
            image = (EncodedPicture if lazy else decode_image)(sample.image, self.limits)
            return Decoded(sample.key, sample.image_id, image, self.texts(sample), sample.location)
        except DataError as error:
            raise SampleError(str(error), sample.key, sample.location) from error

    def finish(self, decoded: Decoded, generator: torch.Generator, text: int | None) -> Loaded:
        """Choose a text and augment the picture.

        Args:
            generator: what the text's choice and the augmentation are drawn from.
            text: which text, modulo their number; None draws one of them.

        Raises SampleError when the picture had not been decoded before and can't be.
        """
        choices = len(decoded.texts)
        if text is None:
            text = int(torch.randint(choices, (), generator=generator)) if choices > 1 else 0
        chosen = decoded.texts[text % choices]
        transform: Any = self.image_transform.for_text(chosen) if self._text_aware else self.image_transform
        if isinstance(decoded.image, EncodedPicture):
            transform = transform.from_encoded
        try:
            image = transform(decoded.image, generator)
        except DataError as error:
            raise SampleError(str(error), decoded.key, decoded.location) from error
        return Loaded(decoded.key, decoded.image_id, image, chosen)

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


class Loader:
    """Loads the samples of one reader. Safe to share between threads."""

    def __init__(self, reader: Reader, preparation: Preparation, cache_decoded: bool = False) -> None:
        self.reader = reader
        self.preparation = preparation
        self._cache: dict[int, Decoded] | None = {} if cache_decoded else None

    def load(self, index: int, generator: torch.Generator, text: int | None) -> Loaded:
        """Load one sample; ``text`` is that of ``Preparation.finish``.

        Raises SampleError when no text is left or the image can't be used.
        """
        return self.preparation.finish(self._decoded(index), generator, text)

    def _decoded(self, index: int) -> Decoded:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        decoded = self.preparation.decode(self.read(index), whole=self._cache is not None)
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


def collate(samples: Sequence[Loaded]) -> Batch:
    """Join loaded samples to a batch."""
    return Batch(
        images=torch.stack([sample.image for sample in samples]),
        texts=tuple(sample.text for sample in samples),
        image_ids=torch.tensor([stable_hash(sample.image_id) for sample in samples], dtype=torch.int64),
        keys=tuple(sample.key for sample in samples),
    )
