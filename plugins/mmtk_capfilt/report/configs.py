"""What CapFilt's report sections take. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mmtk.api import Blueprint, Input, Range, Reader, Slot


@dataclass(frozen=True, kw_only=True)
class FunnelSectionConfig:
    """Shows what went into bootstrapping and what came out."""

    funnel: Annotated[Path, Input("funnel")]
    """The counts that the pass wrote."""
    title: str = "From web pairs to a bootstrapped set"
    """Heading of the section."""


@dataclass(frozen=True, kw_only=True)
class ScoresSectionConfig:
    """Shows how the filter scored web and synthetic texts, and where it cut."""

    ledger: Annotated[Path, Input("ledger")]
    """The ledger that the pass wrote."""
    title: str = "How the filter scored the texts"
    """Heading of the section."""


@dataclass(frozen=True, kw_only=True)
class GallerySectionConfig:
    """Shows pictures with their texts, kept or struck out."""

    ledger: Annotated[Path, Input("ledger")]
    """The ledger that the pass wrote."""
    images: Annotated[list[Blueprint[Reader]], Slot("reader")]
    """Where the pictures are: the datasets that were filtered."""
    count: Annotated[int, Range(1, 1000)] = 48
    """How many pictures are shown."""
    title: str = "Pictures and their texts"
    """Heading of the section."""


@dataclass(frozen=True, kw_only=True)
class ExplorerSectionConfig:
    """Shows every picture with all its texts, to be searched, filtered and sorted in the browser."""

    ledger: Annotated[Path, Input("ledger")]
    """The ledger that the pass wrote."""
    images: Annotated[list[Blueprint[Reader]], Slot("reader")]
    """Where the pictures are: the datasets that were filtered, and human ones that were merged."""
    truth: Annotated[Path | None, Input("truth")] = None
    """Parquet file that says which web texts are right: columns key, clean, noise_kind and label. With it,
    the section counts how well drops agree with it, and texts can be filtered by the kind of noise."""
    extras: Annotated[Path | None, Input("pictures")] = None
    """Parquet file of further pictures for an image's dialog, such as heat maps: columns key, label and
    picture (an encoded image)."""
    limit: Annotated[int, Range(1)] = 10_000
    """How many images are shown at most, spread evenly over the ledger. Beyond 2,000 the pictures lie in
    files beside the page."""
    title: str = "Every picture and its texts"
    """Heading of the section."""
