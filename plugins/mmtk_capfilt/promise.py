"""What a step of the pass must not do to the images that it is given."""

from __future__ import annotations

from collections.abc import Sequence

from mmtk.api import SYNTHETIC, WEB, Candidate, ImageCandidates, StageError


def check_promise(
    step: str, gives: Sequence[str], before: Sequence[ImageCandidates], after: Sequence[ImageCandidates]
) -> None:
    """Hold a step's result against what it was given.

    Args:
        step: its name.
        gives: the scores that it declares.

    Raises StageError when images or texts are lost, changed or in another order, when a text has a source
    that no step may give, when scores change that the step doesn't declare, and when it says what no file
    can hold.
    """
    if [getattr(image, "sample", None) for image in after] != [image.sample for image in before]:
        raise StageError(f"step {step} must return the images that it is given, in their order")
    for was, now in zip(before, after, strict=True):
        _check_texts(step, was, now)
        _check_unicode(step, now)
        scores_before = [one.scores for one in was.candidates] + [{}] * len(now.candidates)
        for old, one in zip(scores_before, now.candidates, strict=False):
            changed = {name for name, _ in old.items() ^ one.scores.items()} - set(gives)
            if changed:
                raise StageError(
                    f"step {step} changes the score {min(changed)!r} of a text of {was.key!r}, which isn't "
                    f"among those that it says it gives: {', '.join(gives) or 'none'}"
                )


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
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise StageError(
                f"step {step} says of {image.key!r} what is not Unicode: half a surrogate pair in "
                f"{text[:60]!r}"
            ) from error


def _fixed(one: Candidate, barred: str) -> tuple[str, ...]:
    """What of a text no step changes; a text that is barred stays so."""
    return one.text, one.source, one.cleaned, one.written_by, one.barred if barred else ""
