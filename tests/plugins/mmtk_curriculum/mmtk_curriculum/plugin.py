"""What mmtk finds behind the entry point. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl

MMTK_API = ">=1.0,<2"


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "negatives",
            "curriculum",
            "mmtk_curriculum.sampler:Curriculum",
            "mmtk_curriculum.configs:CurriculumConfig",
            "from even draws to the hardest pair, over a number of draws",
        )
    ]
