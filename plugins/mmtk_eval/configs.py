"""What the evaluation components take. This module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from mmtk.api import Blueprint, Decoding, EvaluationDataConfig, Input, Metric, Output, Range, Slot


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Score one checkpoint with every metric on every split."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {
        "metrics": Output("evaluation", "metrics.json"),
        "quarantine": Output("quarantine", "quarantine.jsonl"),
    }

    checkpoint: Annotated[Path, Input("checkpoint")]
    """The learner to score."""
    splits: Mapping[str, EvaluationDataConfig]
    """Datasets by name; the name starts the keys of its figures."""
    metrics: Annotated[Mapping[str, Blueprint[Metric]], Slot("metric")]
    """Metrics by name; a figure's key is SPLIT/METRIC/FIGURE, e.g. test/retrieval/text_to_image/r1."""


@dataclass(frozen=True, kw_only=True)
class EvaluateFilterConfig:
    """Compare what a filter kept and dropped with known labels."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {"metrics": Output("evaluation", "filter.json")}

    ledger: Annotated[Path, Input("ledger", "file")]
    """The filter's ledger."""
    truth: Annotated[Path, Input("truth", "file")]
    """Parquet file with the columns key, clean (whether the web text is right), noise_kind and label."""


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Recall of image-to-text and text-to-image retrieval."""

    k: Annotated[int, Range(0)] = 128
    """Length of the ITC shortlist that the matching head ranks anew (BLIP: 256 on COCO, 128 on Flickr30k);
    0 reports the ITC ranking alone."""
    pairs_per_batch: Annotated[int, Range(1)] = 256
    """Image-text pairs that the matching head scores at once."""


@dataclass(frozen=True, kw_only=True)
class CaptioningConfig:
    """BLEU-4 and CIDEr of one caption per image."""

    decoding: Decoding = field(default_factory=Decoding)
    """How captions are written; BLIP's evaluation uses a beam of 3 and 5 to 20 tokens."""
