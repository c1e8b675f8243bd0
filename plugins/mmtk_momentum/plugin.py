"""The components of the momentum plugin. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "momentum",
            "ema",
            "mmtk_momentum.ema:MomentumEncoder",
            "mmtk_momentum.configs:EmaConfig",
            "moving average of the feature towers, with feature queues",
        ),
        Component(
            "negatives",
            "itc_weighted",
            "mmtk_momentum.negatives:ItcWeighted",
            "mmtk_momentum.configs:ItcWeightedConfig",
            "hard negatives, drawn by ITC similarity",
        ),
        Component(
            "negatives",
            "hardest",
            "mmtk_momentum.negatives:Hardest",
            "mmtk_momentum.configs:HardestConfig",
            "the hardest negative of the batch",
        ),
        Component(
            "negatives",
            "random",
            "mmtk_momentum.negatives:Random",
            "mmtk_momentum.configs:RandomConfig",
            "negatives drawn uniformly from the batch",
        ),
    ]
