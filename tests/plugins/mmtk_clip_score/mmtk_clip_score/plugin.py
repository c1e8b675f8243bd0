"""What mmtk finds behind the entry point. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "capfilt_step",
            "clip_score",
            "mmtk_clip_score.step:ClipScore",
            "mmtk_clip_score.configs:ClipScoreConfig",
            "keeps the texts whose CLIP score is high enough",
        )
    ]
