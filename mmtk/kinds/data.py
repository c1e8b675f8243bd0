"""The kinds that samples come from and pass through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from mmtk.types import Quarantined, RawSample

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


class Reader(Protocol):
    """A dataset with random access. Opening it reads an index, not the samples."""

    quarantined: Sequence[Quarantined]  # what the index could not take in

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawSample:
        """Raises DataError with the reason when this sample can't be read."""


class Stream(Protocol):
    """A dataset that can only be read from front to back, shard by shard. Opening it reads no shard."""

    shards: Sequence[str]  # addresses, in an order that is the same each time

    def read(self, shard: str) -> Iterator[RawSample | Quarantined]:
        """Yield a shard's samples, and in their places those that can't be used; the same each time.

        Raises DataError when the shard can never be read, and any other error when it may be worth another
        try, also on the way: it is then read again, and what came before is skipped.
        """


class ImageTransform(Protocol):
    """A decoded RGB image to a normalised tensor.

    It may be a ``LazyImageTransform`` or a ``TextAwareImageTransform`` as well.
    """

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        """Return ``(3, H, W)`` float32."""


class Picture(Protocol):
    """A picture that need not be decoded yet."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""

    def decode(self, reduction: int = 1) -> Image.Image:
        """Return it upright and in mode RGB. Raises DataError when it is damaged.

        With ``reduction`` 2, 4 or 8 the result may have that part of the width and height, rounded up.
        """


@runtime_checkable
class LazyImageTransform(Protocol):
    """An image transform that decodes a picture itself, no larger than it needs, unless it is in a cache."""

    def from_encoded(self, picture: Picture, generator: torch.Generator) -> Tensor:
        """Return ``(3, H, W)`` float32. Raises DataError when the picture can't be decoded."""


@runtime_checkable
class TextAwareImageTransform(Protocol):
    """An image transform that depends on what is said of the picture."""

    def for_text(self, text: str) -> Self:
        """Return the transform for a picture with this cleaned text; it is asked for each pair."""


class TextTransform(Protocol):
    """A raw text to what the model reads."""

    def __call__(self, text: str) -> str:
        """Raises DataError when nothing is left of the text."""
