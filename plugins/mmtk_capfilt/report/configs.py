"""What CapFilt's report sections take. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mmtk.api import Blueprint, ImageTransform, Input, Range, Reader, Slot, TextTransform, node


@dataclass(frozen=True, kw_only=True)
class FunnelSectionConfig:
    """Shows what went into bootstrapping and what came out."""

    funnel: Annotated[Path, Input("funnel", "file")]
    """The counts that the pass wrote."""
    title: str = "From web pairs to a bootstrapped set"
    """Heading of the section."""


@dataclass(frozen=True, kw_only=True)
class ScoresSectionConfig:
    """Shows how the filter scored web and synthetic texts, and where it cut."""

    ledger: Annotated[Path, Input("ledger", "file")]
    """The ledger that the pass wrote."""
    title: str = "How the filter scored the texts"
    """Heading of the section."""


@dataclass(frozen=True, kw_only=True)
class GallerySectionConfig:
    """Shows pictures with their texts, kept or struck out."""

    ledger: Annotated[Path, Input("ledger", "file")]
    """The ledger that the pass wrote."""
    images: Annotated[list[Blueprint[Reader]], Slot("reader")]
    """Where the pictures are: the datasets that were filtered."""
    count: Annotated[int, Range(1, 1000)] = 48
    """How many pictures are shown."""
    title: str = "Pictures and their texts"
    """Heading of the section."""


@dataclass(frozen=True, kw_only=True)
class GradcamSectionConfig:
    """Shows where in a picture the filter sees each word of its texts (Grad-CAM)."""

    checkpoint: Annotated[Path, Input("checkpoint")]
    """The filter; of several that judged a fold each, one of them."""
    ledger: Annotated[Path, Input("ledger", "file")]
    """The ledger that the pass wrote."""
    images: Annotated[list[Blueprint[Reader]], Slot("reader")]
    """Where the pictures are: the datasets that were filtered, or the checkpoint's fold of them."""
    image_transform: Annotated[Blueprint[ImageTransform], Slot("image_transform")] = node("blip_test")
    """From pictures to what the filter sees, as in the pass. It must keep the whole picture, as ``blip_test``
    does, or the maps don't meet it."""
    text_transform: Annotated[Blueprint[TextTransform], Slot("text_transform")] = node("blip_caption")
    """From texts to what the filter reads, as in the pass."""
    count: Annotated[int, Range(1, 200)] = 12
    """How many pictures are shown, chosen as the gallery's."""
    layer: Annotated[int | None, Range(0)] = None
    """Layer of the cross-attention that is looked at, counted from 0; null takes the one two thirds up (7 of
    BLIP's 12). The last one can't be looked at."""
    title: str = "Where the filter sees the words"
    """Heading of the section."""


@dataclass(frozen=True, kw_only=True)
class ExplorerSectionConfig:
    """Shows every picture with all its texts, to be searched, filtered and sorted in the browser."""

    ledger: Annotated[Path, Input("ledger", "file")]
    """The ledger that the pass wrote."""
    images: Annotated[list[Blueprint[Reader]], Slot("reader")]
    """Where the pictures are: the datasets that were filtered, and human ones that were merged."""
    truth: Annotated[Path | None, Input("truth", "file")] = None
    """Parquet file that says which web texts are right: columns key, clean, noise_kind and label. With it,
    the section counts how well drops agree with it, and texts can be filtered by the kind of noise."""
    extras: Annotated[Path | None, Input("pictures", "file")] = None
    """Parquet file of further pictures for an image's dialog, such as heat maps: columns key, label and
    picture (an encoded image)."""
    limit: Annotated[int, Range(1)] = 10_000
    """How many images are shown at most, spread evenly over the ledger. Beyond 2,000 the pictures lie in
    files beside the page."""
    title: str = "Every picture and its texts"
    """Heading of the section."""
