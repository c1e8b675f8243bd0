"""What the step takes. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mmtk.api import Input, Range


@dataclass(frozen=True, kw_only=True)
class ClipScoreConfig:
    """Keep the texts whose CLIP score is high enough."""

    folder: Annotated[Path, Input("open_clip_model")]
    """A model that open_clip has saved: `open_clip_config.json` and weights."""
    threshold: Annotated[float, Range(-1, 1)]
    """A text is kept if its cosine with the image is at least this."""
