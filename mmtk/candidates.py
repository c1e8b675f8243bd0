"""The texts of an image on their way through CapFilt's steps, and the rules by which texts are kept.

A step adds texts, scores them, or bars some for good. Texts that fall short of a score are not barred: later
steps score them too, so that another threshold can be applied afterwards without any model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from mmtk.types import RawSample

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from PIL import Image
    from torch import Tensor

    from mmtk.kinds import Reader

WEB = "web"
SYNTHETIC = "synthetic"
HUMAN = "human"


@dataclass(frozen=True)
class Candidate:
    """A text that an image may be paired with.

    Attributes:
        text: as it was found or written.
        source: ``web``, ``synthetic`` or ``human``.
        cleaned: what models read; the pass fills it in.
        scores: figures that steps have given it, by name.
        written_by: what model wrote it; empty for a text that was found.
        barred: why it is dropped whatever its scores; empty if it is not.
        barred_by: the step that barred it; the pass fills it in.
    """

    text: str
    source: str
    cleaned: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    written_by: str = ""
    barred: str = ""
    barred_by: str = ""


@dataclass(frozen=True)
class ImageCandidates:
    """An image and its candidate texts.

    Attributes:
        sample: the image as its reader holds it.
        index: its place in its dataset.
        picture: decoded, upright, mode RGB.
        pixels: ``(3, H, W)`` float32, by the pass's image transform.
        seed: what anything random about the image is drawn from; it depends on the run's seed and the key.
        candidates: its texts, web texts first.
        left_out: why the image is left out, with all its texts; later steps don't get it. Empty if it isn't.
    """

    sample: RawSample
    index: int
    picture: Image.Image
    pixels: Tensor
    seed: int
    candidates: tuple[Candidate, ...]
    left_out: str = ""

    @property
    def key(self) -> str:
        return self.sample.key

    @property
    def open(self) -> tuple[Candidate, ...]:
        """The texts that are not barred."""
        return tuple(one for one in self.candidates if not one.barred)

    def adding(self, texts: Iterable[str], *, source: str = SYNTHETIC, written_by: str = "") -> Self:
        """Return the image with further texts."""
        new = tuple(Candidate(text, source, written_by=written_by) for text in texts)
        return replace(self, candidates=self.candidates + new)

    def scored(self, **scores: Sequence[float]) -> Self:
        """Return the image with scores of its open texts.

        Raises ValueError unless each sequence has a score for each text of ``open``.
        """
        for name, given in scores.items():
            if len(given) != len(self.open):
                raise ValueError(f"{len(given)} scores {name!r} for {len(self.open)} open texts")
        if not scores:
            return self
        own = iter(zip(*scores.values(), strict=True))
        return replace(
            self,
            candidates=tuple(
                one
                if one.barred
                else replace(one, scores={**one.scores, **dict(zip(scores, next(own), strict=True))})
                for one in self.candidates
            ),
        )

    def leaving_out(self, reason: str) -> Self:
        """Return the image left out of the pass."""
        return replace(self, left_out=reason)

    def barring(self, reason: Callable[[Candidate], str | None]) -> Self:
        """Return the image with those open texts barred for which ``reason`` gives one."""
        return replace(
            self,
            candidates=tuple(
                one if one.barred else replace(one, barred=reason(one) or "") for one in self.candidates
            ),
        )


@dataclass(frozen=True)
class AtLeast:
    """Keeps the texts that have a score of at least ``threshold``.

    Attributes:
        score: the score's name.
        threshold: least value.
        source: the rule is about texts of this source; empty for all but human ones.
    """

    score: str
    threshold: float
    source: str = ""

    def drop(self, alive: Sequence[Candidate]) -> dict[int, str]:
        """Say which of an image's texts are dropped, by their place, and why."""
        judged = {
            place: one.scores.get(self.score)
            for place, one in enumerate(alive)
            if (one.source == self.source if self.source else one.source != HUMAN)
        }
        return {
            place: f"no {self.score}" if value is None else f"{self.score} below {self.threshold:g}"
            for place, value in judged.items()
            if value is None or value < self.threshold
        }


@dataclass(frozen=True)
class Best:
    """Keeps an image's texts of the highest score; the earlier one of equals.

    Attributes:
        score: the score's name.
        count: how many are kept.
    """

    score: str
    count: int = 1

    def drop(self, alive: Sequence[Candidate]) -> dict[int, str]:
        """Say which of an image's texts are dropped, by their place, and why."""
        rated = [place for place, one in enumerate(alive) if one.source != HUMAN]
        rated.sort(key=lambda place: -alive[place].scores.get(self.score, float("-inf")))
        return dict.fromkeys(rated[self.count :], f"not among the best {self.count} by {self.score}")


Rule = AtLeast | Best


class CapfiltStep(Protocol):
    """A step of the pass that cleans captions: a pure function of some images, in any batches.

    It may have these attributes:

    * ``gives``: a tuple of the scores that it gives to every open text; it may change no others;
    * ``needs``: a tuple of scores that steps before it must have given;
    * ``rules``: a tuple of ``AtLeast`` and ``Best``, by which texts are dropped after it;
    * ``fingerprint``: a string that tells the model it scores or writes with from others.

    Its factory may take ``device``, ``registry`` and ``data_limits``, the ``ImageLimits`` of the pass, beside
    the keys of its config.
    """

    def __call__(self, images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        """Return the same images in the same order, made by ``adding``, ``scored``, ``barring`` and
        ``leaving_out``. Added texts are ``web`` or ``synthetic``. The pass raises StageError when a step
        returns anything else."""


@runtime_checkable
class SurveyingStep(Protocol):
    """A step that must have seen all images before it can judge one. It is a ``CapfiltStep`` too."""

    def survey(self, readers: Mapping[str, Reader]) -> pa.Table:
        """Look through the datasets of the pass, by name, once; called in one process before all parts."""

    def learn(self, survey: pa.Table) -> None:
        """Take what ``survey`` found; called in every process that works on parts."""


@runtime_checkable
class AddingStep(Protocol):
    """A step from which on further datasets take part. It is a ``CapfiltStep`` too.

    Attributes:
        datasets: readers by name; every text of theirs has the source ``human``.
        weights: how often a kept text is written, by its source or, for those of ``datasets``, by their name;
            1 where it is missing. A fraction takes that share of the texts, the same ones each time.
    """

    datasets: Mapping[str, Reader]
    weights: Mapping[str, float]


class PartWork(Protocol):
    """Work in numbered parts that can be sent to another process."""

    @property
    def folder(self) -> Path:
        """Where its results are written; who works on parts must see it."""

    @property
    def device(self) -> str:
        """Where models compute: ``cpu``, ``cuda`` or ``cuda:N``."""

    def open(self) -> Callable[[int], Any]:
        """Load what the work needs and return what does one part. What that returns is picklable."""


class Executor(Protocol):
    """Where the parts of a pass are worked on."""

    def __call__(self, work: PartWork, parts: Sequence[int]) -> Iterable[tuple[int, Any]]:
        """Do every part and yield its number and its result, in any order.

        A part may be begun several times: it leaves nothing behind until it is whole.

        Raises StageError when the parts can't be worked on here.
        """
