"""What the components of the momentum plugin take. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mmtk.api import Range


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """Keep a moving average of the model's feature towers, and queues of its features."""

    momentum: Annotated[float, Range(0, 1)] = 0.995
    """Share of the slow copy that a step keeps (ALBEF §3.3); 0 is a plain copy of the online towers."""
    queue_size: Annotated[int, Range(0)] = 57600
    """Earlier pairs whose features are further negatives of ITC; any number goes with any batch size."""


@dataclass(frozen=True, kw_only=True)
class ItcWeightedConfig:
    """Draw the more similar pairs more often."""

    floor: Annotated[float, Range(0, low_open=True)] = 1e-4
    """Added to every probability, so that none is zero (as BLIP's public code)."""


@dataclass(frozen=True, kw_only=True)
class HardestConfig:
    """Take the most similar pair."""


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """Draw all pairs alike."""
