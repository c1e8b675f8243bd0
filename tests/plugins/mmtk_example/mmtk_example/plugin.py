"""What mmtk finds behind the entry point. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl

MMTK_API = ">=1.0,<2"


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "head",
            "sigmoid",
            "mmtk_example.sigmoid:SigmoidHead",
            "mmtk_example.configs:SigmoidConfig",
            "pairwise contrast with a sigmoid loss",
        ),
        Component(
            "negatives",
            "semi_hard",
            "mmtk_example.semi_hard:SemiHard",
            summary="negatives less similar than the true pair",
        ),
    ]
