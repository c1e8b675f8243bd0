"""Steps of a pass without a model: what they write and score depends on the texts alone."""

from __future__ import annotations

from collections.abc import Sequence

from mmtk_capfilt.rules import source_rules

from mmtk.api import Component, ImageCandidates, stable_hash
from mmtk.plugins import load_plugins
from mmtk.registry import Registration, Registry

SCORE = "fake_score"


class FakeCaption:
    """Writes two texts for each image."""

    fingerprint = "fake"

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [
            one.adding([f"a drawing of {one.key}", f"something {one.index}"], written_by="fake")
            for one in images
        ]


class FakeFilter:
    """Scores texts in steps of a tenth."""

    gives = (SCORE,)
    fingerprint = "fake"

    def __init__(self, *, threshold: float = 0.5, synthetic_threshold: float | None = None) -> None:
        self.rules = source_rules(SCORE, threshold, synthetic_threshold)

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [
            one.scored(**{SCORE: [stable_hash(text.cleaned) % 11 / 10 for text in one.open]})
            for one in images
        ]


def registry_with_fakes() -> Registry:
    """All installed components, and ``fake_caption`` and ``fake_filter``."""
    fakes = [
        Component("capfilt_step", "fake_caption", f"{__name__}:FakeCaption"),
        Component("capfilt_step", "fake_filter", f"{__name__}:FakeFilter"),
    ]
    installed = [
        Registration(component, plugin.name, plugin.distribution, plugin.version)
        for plugin in load_plugins().plugins
        for component in plugin.components
    ]
    return Registry([*installed, *(Registration(one, "fakes", "fakes", "1.0") for one in fakes)])
