"""The component of the emoji plugin. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "stage",
            "emoji_data",
            "mmtk_emoji.stage:EmojiDataStage",
            "mmtk_emoji.configs:EmojiDataConfig",
            "writes the shipped emoji pictures and their noisy texts as shards",
        )
    ]
