"""What a step of CapFilt's pass must not do to its images: for the pass, and for the check of the kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmtk.candidates import SYNTHETIC, WEB, Candidate, CapfiltStep, ImageCandidates
from mmtk.errors import MmtkError, StageError
from mmtk.offers import a_value
from mmtk.printable import brief


def step_results(step: CapfiltStep, name: str, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
    """Have a step work on images and hold what it returns, a generator too, against what it was given.

    Args:
        step: called once.
        name: the step's, for messages.

    Raises StageError when the step raises an error of mmtk's, when images or texts are lost, changed or in
    another order, when a text has a source that no step may give, when a score is no number, when scores
    change that the step doesn't declare, and when it says what no file can hold.
    """
    try:
        made: Any = step(images)
        done = list(made) if isinstance(made, Iterable) else made
    except MmtkError as error:
        raise StageError(f"step {name}: {error}") from error
    wanted = f"step {name} must return the images that it is given, in their order"
    if not isinstance(done, list):
        raise StageError(f"{wanted}, and returns {a_value(done)}")
    if [getattr(image, "sample", None) for image in done] != [image.sample for image in images]:
        raise StageError(wanted)
    gives = tuple(getattr(step, "gives", ()))
    for was, now in zip(images, done, strict=True):
        _check_texts(name, was, now)
        _check_unicode(name, now)
        _check_scores(name, gives, was, now)
    return done


def ledger_scores(name: str, key: str, one: Candidate, wanted: Sequence[str]) -> dict[str, float]:
    """A text's scores as the ledger holds them, in float32, so that its thresholds decide alike later on.

    Args:
        name: of the step that has just worked on it.
        key: the image's.
        one: the text.
        wanted: the scores that the step must have given it.

    Raises StageError when one of those is missing, or any isn't finite.
    """
    for score in wanted:
        if one.scores.get(score) is None:
            raise StageError(f"step {name} gives no {score} for a text of {key!r}")
    with np.errstate(over="ignore"):
        rounded = {score: float(np.float32(float(value))) for score, value in one.scores.items()}
    for score, value in rounded.items():
        if not math.isfinite(value):
            raise StageError(
                f"step {name} gives a score {score!r} that is not finite for a text of {key!r}; "
                "a comparison with it would decide nothing"
            )
    return rounded


def _check_texts(step: str, was: ImageCandidates, now: ImageCandidates) -> None:
    count = len(was.candidates)
    kept = [_fixed(one, old.barred) for one, old in zip(now.candidates, was.candidates, strict=False)]
    if kept != [_fixed(old, old.barred) for old in was.candidates]:
        raise StageError(
            f"step {step} must leave the texts of {was.key!r} as they are and where they are: "
            "it may score and bar them, and add others"
        )
    for one in now.candidates[count:]:
        if one.source not in (WEB, SYNTHETIC):
            raise StageError(
                f"step {step} adds a text to {was.key!r} with the source {one.source!r}; "
                f"a step's texts are {WEB!r} or {SYNTHETIC!r}"
            )


def _check_unicode(step: str, image: ImageCandidates) -> None:
    words = [(one.text, one.written_by, one.barred) for one in image.candidates]
    for text in (image.left_out, *(text for of_one in words for text in of_one)):
        if not isinstance(text, str):
            raise StageError(f"step {step} gives {a_value(text)} in place of a text to {image.key!r}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise StageError(
                f"step {step} says of {image.key!r} what is not Unicode: half a surrogate pair in "
                f"{text[:60]!r}"
            ) from error


def _check_scores(step: str, gives: Sequence[str], was: ImageCandidates, now: ImageCandidates) -> None:
    before = [one.scores for one in was.candidates] + [{}] * len(now.candidates)
    for old, one in zip(before, now.candidates, strict=False):
        for score, value in one.scores.items():
            if not _is_number(value):
                raise StageError(
                    f"step {step} gives {brief(repr(value))} as the score {score!r} of a text of "
                    f"{now.key!r}; expected a number"
                )
        changed = {score for score, _ in _numbers(old) ^ _numbers(one.scores)} - set(gives)
        if changed:
            raise StageError(
                f"step {step} changes the score {min(changed)!r} of a text of {was.key!r}, which isn't "
                f"among those that it says it gives: {', '.join(gives) or 'none'}"
            )


def _numbers(scores: Mapping[str, Any]) -> set[tuple[str, float]]:
    return {(score, float(value)) for score, value in scores.items()}


def _is_number(value: Any) -> bool:
    """Whether it is one to the ledger: also a tensor or an array without dimensions, but no text."""
    if isinstance(value, str | bytes) or getattr(value, "ndim", 0) > 0:
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False
    return True


def _fixed(one: Candidate, barred: str) -> tuple[str, ...]:
    """What of a text no step changes; a text that is barred stays so."""
    return one.text, one.source, one.cleaned, one.written_by, one.barred if barred else ""
