"""What the head takes. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mmtk.api import Range


@dataclass(frozen=True, kw_only=True)
class SigmoidConfig:
    """Pairwise contrast with a sigmoid loss."""

    scale: Annotated[float, Range(0, low_open=True)] = 10.0
    """Factor on similarities at the start; learned."""
    bias: float = -10.0
    """Added to scaled similarities at the start, against the many pairs that don't match; learned."""
