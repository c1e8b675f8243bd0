"""What the steps take. This module imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from mmtk.api import (
    DEFAULT_LIMITS,
    Blueprint,
    CapfiltStep,
    Decoding,
    ImageLimits,
    ImageTransform,
    Input,
    Range,
    Reader,
    Slot,
)
from mmtk_capfilt.extras import missing
from mmtk_capfilt.scores import ITC, ITM, given_by, needed_by
from mmtk_capfilt.steps.languages import known_languages, language_fault


@dataclass(frozen=True)
class CaptionDecoding(Decoding):
    """Decoding with the paper's choice for CapFilt: nucleus sampling, p = 0.9 (BLIP §4.3)."""

    method: Literal["beam", "nucleus"] = "nucleus"


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Write synthetic captions with a checkpoint's captioning head."""

    gives: ClassVar[tuple[str, ...]] = ()

    checkpoint: Annotated[Path, Input("checkpoint")]
    """The captioner: a learner with a head that can write captions."""
    decoding: CaptionDecoding = CaptionDecoding()
    """How a caption is written."""
    captions: Annotated[int, Range(1)] = 1
    """Captions of each image; several need sampling. One that is there already is dropped."""
    batch_size: Annotated[int, Range(1)] = 64
    """Images that are captioned at a time."""
    image_transform: Annotated[Blueprint[ImageTransform] | None, Slot("image_transform")] = None
    """From pictures to what the captioner sees; null takes the pass's."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.captions > 1 and self.decoding.method == "beam":
            yield (
                "captions",
                "a beam writes the same caption each time; several need decoding.method: nucleus",
            )


@dataclass(frozen=True, kw_only=True)
class MatchFilterConfig:
    """Keep the texts that a checkpoint's matching head believes in."""

    gives: ClassVar[tuple[str, ...]] = (ITM, ITC)

    checkpoint: Annotated[Path, Input("checkpoint")]
    """The filter: a learner with a head that tells matching pairs from others."""
    threshold: Annotated[float, Range(0, 1)] = 0.5
    """A text is kept if its ITM probability is at least this. 0 keeps every text that can be scored."""
    synthetic_threshold: Annotated[float | None, Range(0, 1)] = None
    """The same for synthetic texts; null takes ``threshold`` (BLIP). A captioner that is mostly wrong needs a
    higher one, because it writes what the filter, which grew out of the same model, believes."""
    batch_size: Annotated[int, Range(1)] = 64
    """Images that are encoded at a time, and pairs that are scored at a time."""
    image_transform: Annotated[Blueprint[ImageTransform] | None, Slot("image_transform")] = None
    """From pictures to what the filter sees; null takes the pass's."""


@dataclass(frozen=True, kw_only=True)
class FeatureFilterConfig:
    """Keep the texts whose ITC features are close to the image's."""

    gives: ClassVar[tuple[str, ...]] = (ITC,)

    checkpoint: Annotated[Path, Input("checkpoint")]
    """The filter: any learner."""
    threshold: Annotated[float, Range(-1, 1)]
    """A text is kept if its cosine with the image is at least this; see ``mmtk capfilt calibrate``."""
    synthetic_threshold: Annotated[float | None, Range(-1, 1)] = None
    """The same for synthetic texts; null takes ``threshold``."""
    batch_size: Annotated[int, Range(1)] = 64
    """Images that are encoded at a time."""
    image_transform: Annotated[Blueprint[ImageTransform] | None, Slot("image_transform")] = None
    """From pictures to what the filter sees; null takes the pass's."""


@dataclass(frozen=True, kw_only=True)
class ByFoldConfig:
    """Have several models judge a dataset crosswise, each the fold that it was not trained on."""

    steps: Annotated[tuple[Blueprint[CapfiltStep], ...], Slot("capfilt_step")]
    """One step for each fold, which differ in their checkpoints: the first for the images that
    ``{use: fold, fold: 0}`` reads, and so on."""

    @property
    def gives(self) -> tuple[str, ...] | None:
        return given_by(self.steps[0])

    @property
    def needs(self) -> tuple[str, ...]:
        return needed_by(self.steps[0])

    def check(self) -> Iterator[tuple[str, str]]:
        if len(self.steps) < 2:
            yield "steps", "needs at least two steps, one for each fold"


@dataclass(frozen=True, kw_only=True)
class KeepBestConfig:
    """Keep the best of an image's texts, web or synthetic."""

    gives: ClassVar[tuple[str, ...]] = ()

    score: str = ITM
    """What texts are compared by: a score that a step before it gives."""
    count: Annotated[int, Range(1)] = 1
    """How many are kept."""

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.score,)


@dataclass(frozen=True, kw_only=True)
class LengthFilterConfig:
    """Drop texts that are too short or too long, once cleaned."""

    gives: ClassVar[tuple[str, ...]] = ()

    min_words: Annotated[int, Range(0)] = 2
    """Least number of words."""
    max_words: Annotated[int | None, Range(1)] = None
    """Greatest number of words; null for none. The text transform cuts long ones before."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.max_words is not None and self.max_words < self.min_words:
            yield "max_words", f"{self.max_words} is less than min_words {self.min_words}"


@dataclass(frozen=True, kw_only=True)
class DedupConfig:
    """Leave out pictures that the dataset has already, and bar texts that it repeats."""

    gives: ClassVar[tuple[str, ...]] = ()

    distance: Annotated[int | None, Range(0, 8)] = 3
    """Pictures are near duplicates if the 64-bit hashes of their looks differ in at most so many bits. null
    leaves out equal files alone, and then needs to decode nothing; icons and diagrams look too much alike for
    more."""
    texts: bool = False
    """Also bar web texts that are repeated: boilerplate of the sites they came from."""
    max_repeats: Annotated[int, Range(1)] = 10
    """With `texts`: of how many pictures a text may be said, whatever its case, punctuation and space."""


@dataclass(frozen=True, kw_only=True)
class DecontaminateConfig:
    """Leave out pictures of evaluation sets."""

    gives: ClassVar[tuple[str, ...]] = ()

    against: Annotated[Mapping[str, Blueprint[Reader]], Slot("reader")]
    """Evaluation sets by name."""
    distance: Annotated[int | None, Range(0, 16)] = 3
    """A picture is left out if the hash of its looks and that of an evaluation picture's, both of 64 bits,
    differ in at most so many; null leaves out equal files alone."""
    limits: ImageLimits = DEFAULT_LIMITS
    """Which evaluation pictures are passed over."""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.against:
            yield "against", "needs at least one evaluation set"


# The languages of most of the web; with all 140 that the classifier knows, short texts are anything.
WEB_LANGUAGES = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr",
    "he", "hi", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "nl", "no", "pl",
    "pt", "ro", "ru", "sk", "sl", "sr", "sv", "ta", "th", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LanguageFilterConfig:
    """Bar texts in other languages. Needs `pip install 'mmtk[language]'`."""

    gives: ClassVar[tuple[str, ...]] = ()

    languages: tuple[str, ...]
    """ISO 639 codes of the languages that are kept, e.g. `[en]`."""
    threshold: Annotated[float, Range(0, 1)] = 0.02
    """A text is barred if its probability of being in one of them is below this. Of one or two words the
    classifier is rarely sure, so that a higher threshold bars many that are right."""
    among: tuple[str, ...] = WEB_LANGUAGES
    """The languages that a text may be in beside them; fewer make the classifier surer."""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.languages:
            yield "languages", "needs at least one language"
        if fault := missing("py3langid", "language"):
            yield "", fault
            return
        for key, languages in (("languages", self.languages), ("among", self.among)):
            for place, language in enumerate(languages):
                if fault := language_fault(language, known_languages()):
                    yield f"{key}.{place}", fault


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """Add human pairs, and write some texts more often than others."""

    gives: ClassVar[tuple[str, ...]] = ()

    human: Annotated[Mapping[str, Blueprint[Reader]], Slot("reader")] = field(default_factory=dict)
    """Human-annotated datasets by name. Their texts are kept as they are; the name ends their keys."""
    weights: Mapping[str, Annotated[float, Range(0)]] = field(default_factory=dict)
    """How often a kept text is written: by source, ``web`` or ``synthetic``, or by the name of a human
    dataset; 1 where it is missing. 0.5 writes half of the texts, 2 each of them twice."""

    def check(self) -> Iterator[tuple[str, str]]:
        for name in self.human:
            if name in ("web", "syn", "synthetic"):
                yield f"human.{name}", "is the name of a source; choose another one"
            elif not re.fullmatch(r"(?!copy\d+$)\w*[^\W\d]\w*", name):
                yield (
                    f"human.{name}",
                    "ends keys: letters, digits and _, neither a number nor copyN",
                )
        for name, weight in self.weights.items():
            if not math.isfinite(weight):
                yield f"weights.{name}", f"must be a finite number, not {weight}"
        for name in self.weights.keys() - self.human.keys() - {"web", "synthetic"}:
            known = ", ".join(["web", "synthetic", *self.human])
            yield f"weights.{name}", f"there is no such source or human dataset; there are {known}"
