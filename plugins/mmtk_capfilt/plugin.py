"""The components of CapFilt. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl
from mmtk_capfilt.report.components import COMPONENTS as REPORT_COMPONENTS


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "stage",
            "caption",
            "mmtk_capfilt.caption:CaptionStage",
            "mmtk_capfilt.configs:CaptionConfig",
            "writes one synthetic caption per image",
        ),
        Component(
            "stage",
            "filter",
            "mmtk_capfilt.filter:FilterStage",
            "mmtk_capfilt.configs:FilterConfig",
            "scores web and synthetic texts with the ITM head and keeps the matching ones",
        ),
        Component(
            "stage",
            "join_ledgers",
            "mmtk_capfilt.join:JoinLedgersStage",
            "mmtk_capfilt.configs:JoinLedgersConfig",
            "puts the ledgers of filters that judged different images together",
        ),
        Component(
            "stage",
            "merge",
            "mmtk_capfilt.merge:MergeStage",
            "mmtk_capfilt.configs:MergeConfig",
            "writes kept web, kept synthetic and human pairs as one set of WebDataset shards",
        ),
        *REPORT_COMPONENTS,
    ]
