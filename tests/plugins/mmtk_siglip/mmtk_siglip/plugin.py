"""What mmtk finds behind the entry point. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl

MMTK_API = ">=1.0,<2"


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "head",
            "siglip",
            "mmtk_siglip.head:SiglipHead",
            "mmtk_siglip.configs:SiglipConfig",
            "image-text contrast pair by pair, with a sigmoid loss",
        )
    ]
