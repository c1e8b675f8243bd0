"""What mmtk finds behind the entry point. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl

MMTK_API = ">=1.0,<2"


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "image_encoder",
            "coca_pooler",
            "mmtk_coca_pooler.encoder:coca_pooler",
            "mmtk_coca_pooler.configs:CocaPoolerConfig",
            "a ViT of timm's whose tokens learned queries pool",
        )
    ]
