"""What the stages of CapFilt take. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from mmtk.api import Blueprint, Decoding, Input, Output, Range, Reader, Slot
from mmtk.data.configs import EvaluationDataConfig


@dataclass(frozen=True)
class CaptionDecoding(Decoding):
    """Decoding with the paper's choice for CapFilt: nucleus sampling, p = 0.9 (BLIP §4.3)."""

    method: Literal["beam", "nucleus"] = "nucleus"


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Write one synthetic caption per image with a checkpoint's captioning head."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {
        "captions": Output("captions", "captions.parquet"),
        "quarantine": Output("quarantine", "quarantine.jsonl"),
    }

    checkpoint: Annotated[Path, Input("checkpoint")]
    """The captioner: a learner with a head that can write captions."""
    data: EvaluationDataConfig
    """The web images. Their texts are not looked at, so the text transform is not used."""
    decoding: CaptionDecoding = CaptionDecoding()
    """How a caption is written."""
    part_size: Annotated[int, Range(1)] = 1000
    """Images per part: an interrupted stage goes on behind its last whole part."""


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Score every text of every image with a checkpoint's matching head, and keep the matching ones."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {"ledger": Output("ledger", "ledger.parquet")}

    checkpoint: Annotated[Path, Input("checkpoint")]
    """The filter: a learner with a head that tells matching pairs from others."""
    data: EvaluationDataConfig
    """The web pairs. Texts are scored as the text transform cleans them; the ledger keeps the originals."""
    captions: Annotated[Path | None, Input("captions")] = None
    """Synthetic captions of the same images; without them the web texts alone are filtered."""
    threshold: Annotated[float, Range(0, 1)] = 0.5
    """A text is kept if its ITM probability is at least this. 0 keeps every text that can be scored."""
    synthetic_threshold: Annotated[float | None, Range(0, 1)] = None
    """The same for synthetic texts; null takes ``threshold`` (BLIP). A captioner that is mostly wrong needs a
    higher one, because it writes what the filter, which grew out of the same model, believes."""
    part_size: Annotated[int, Range(1)] = 1000
    """Images per part: an interrupted stage goes on behind its last whole part."""


@dataclass(frozen=True, kw_only=True)
class JoinLedgersConfig:
    """Put the ledgers of several filters together, each about its own part of the images."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {"ledger": Output("ledger", "ledger.parquet")}

    ledgers: tuple[Annotated[Path, Input("ledger")], ...]
    """The ledgers, in the order in which their rows are written."""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.ledgers:
            yield "ledgers", "needs at least one ledger"


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """Write kept web texts, kept synthetic texts and human pairs as one dataset."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {
        "dataset": Output("dataset", "dataset"),
        "funnel": Output("funnel", "funnel.json"),
        "quarantine": Output("quarantine", "quarantine.jsonl"),
    }

    ledger: Annotated[Path, Input("ledger")]
    """What the filter kept."""
    reader: Annotated[Blueprint[Reader], Slot("reader")]
    """The web pairs that the ledger was made from."""
    human: Annotated[Mapping[str, Blueprint[Reader]], Slot("reader")] = field(default_factory=dict)
    """Human-annotated datasets by name. Their pairs are taken as they are; the name ends their keys."""
    samples_per_shard: Annotated[int, Range(1)] = 1000
    """Samples per tar file."""

    def check(self) -> Iterator[tuple[str, str]]:
        for name in self.human.keys() & {"web", "syn"}:
            yield f"human.{name}", "web and syn end the keys of the web images; choose another name"
