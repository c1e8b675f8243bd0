"""What mmtk finds behind the entry point. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "capfilt_step",
            "hf_captioner",
            "mmtk_hf_captioner.step:HfCaptioner",
            "mmtk_hf_captioner.configs:HfCaptionerConfig",
            "writes captions with an image-to-text model of transformers",
        )
    ]
