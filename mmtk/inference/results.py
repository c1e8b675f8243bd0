"""What a model says of pictures and texts. What could not be used has an ``error`` and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Captioned:
    """A picture's captions."""

    path: str
    captions: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Matched:
    """How well a text fits a picture.

    Attributes:
        text: as it was given.
        probability: that they match, by the matching head.
        similarity: cosine of their features.
    """

    text: str
    probability: float = 0.0
    similarity: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Embedded:
    """Features of a picture or text.

    Attributes:
        name: the picture's path, or the text.
        features: ``(E,)`` float32 of unit norm, on the CPU; None with an error.
    """

    name: str
    features: Tensor | None = None
    error: str = ""


@dataclass(frozen=True)
class Found:
    """A picture that a search found.

    Attributes:
        path: absolute.
        similarity: cosine of its features and the query's.
        probability: that the query's text matches, by the matching head; None where it wasn't asked.
        error: why the matching head could not be asked.
    """

    path: str
    similarity: float
    probability: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Indexed:
    """What making an index did.

    Attributes:
        new: how many pictures were read.
        unchanged: how many were in the index already, and their files are the same.
        gone: how many of the earlier index are no longer in it.
        failed: pictures that can't be read; they are not in the index.
    """

    new: int
    unchanged: int
    gone: int
    failed: tuple[Embedded, ...] = ()
