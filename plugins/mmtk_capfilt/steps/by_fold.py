"""Cross-judging: each part of a dataset is worked on by models that were not trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmtk.api import AddingStep, Blueprint, CapfiltStep, ImageCandidates, SurveyingStep, step_results


class ByFold:
    """Has the ``i``-th of its steps work on the ``i``-th fold, as the reader ``fold`` deals images out."""

    def __init__(self, *, steps: Sequence[Blueprint[CapfiltStep]], **injected: object) -> None:
        """Build the steps with what the pass injects.

        Raises ValueError when steps differ in what they give, need or drop by, or go beyond a fold.
        """
        self._steps = [blueprint.build(**injected) for blueprint in steps]
        if any(isinstance(step, AddingStep | SurveyingStep) for step in self._steps):
            raise ValueError(
                "a step that adds datasets or looks through them all can't work on one fold alone"
            )
        self.gives, self.needs, self.rules = (self._agreed(name) for name in ("gives", "needs", "rules"))

    @property
    def fingerprint(self) -> str:
        """Those of the steps, in the order of the folds; empty if none has one."""
        own = [getattr(step, "fingerprint", "") for step in self._steps]
        return "+".join(own) if any(own) else ""

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        done = list(images)
        for fold, step in enumerate(self._steps):
            places = [place for place, one in enumerate(images) if one.index % len(self._steps) == fold]
            if not places:
                continue
            judged = step_results(step, f"of fold {fold}", [images[place] for place in places])
            for place, one in zip(places, judged, strict=True):
                done[place] = one
        return done

    def _agreed(self, name: str) -> tuple[Any, ...]:
        values = {tuple(getattr(step, name, ())) for step in self._steps}
        if len(values) > 1:
            raise ValueError(f"the steps of the folds must have the same {name}")
        return values.pop()
