"""What the head takes. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mmtk.api import Range


@dataclass(frozen=True, kw_only=True)
class SiglipConfig:
    """Image-text contrast pair by pair, with a sigmoid loss."""

    temperature: Annotated[float, Range(0, low_open=True)] = 10.0
    """What the paper calls t, at the start: it multiplies similarities. Learned, as its logarithm."""
    bias: float = -10.0
    """What the paper calls b, at the start: against the many pairs that don't match. Learned."""
    weight: Annotated[float, Range(0)] = 1.0
    """Factor on the loss."""
