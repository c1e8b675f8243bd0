"""Scores by name, between steps that give and steps that need them. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmtk.api import nearest

ITM, ITC = "itm_probability", "itc_similarity"


def given_by(step: Any) -> tuple[str, ...] | None:
    """The scores that a checked step of a recipe gives; None where its config doesn't say."""
    return _said(step, "gives")


def needed_by(step: Any) -> tuple[str, ...]:
    """The scores that a checked step of a recipe needs, as far as its config says."""
    return _said(step, "needs") or ()


def lacking(score: str, given: Sequence[str]) -> str:
    """Say that a score is needed which no step gives, with the one that was meant."""
    near = nearest(score, given)
    hint = f"did you mean {near!r}?" if near else f"they give {', '.join(given) or 'none'}"
    return f"needs the score {score!r}, which no step before it gives; {hint}"


def score_faults(steps: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Find the scores that checked steps need and no step before them gives, each with the key that asks.

    Behind a step that doesn't say what it gives nothing is found: it may give anything.
    """
    given: list[str] = []
    for place, step in enumerate(steps):
        for score in needed_by(step):
            if score not in given:
                keys = [name for name, value in step.keys.items() if value == score]
                yield ".".join(["steps", str(place), *keys[:1]]), lacking(score, given)
        own = given_by(step)
        if own is None:
            return
        given += own


def _said(step: Any, what: str) -> tuple[str, ...] | None:
    said = getattr(getattr(step, "said_by", None), what, None)
    return said if isinstance(said, tuple) else None
