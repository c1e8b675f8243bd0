"""What each kind of component must be able to do.

A factory is called with the fields of its config and, as further keywords, with the values that its
kind injects (see ``KINDS``). Slots of a config arrive as ``Blueprint`` objects, so that the factory
itself decides when to build them and with which injected values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mmtk.candidates import CapfiltStep, Executor
from mmtk.kinds.data import (
    ImageTransform,
    LazyImageTransform,
    Picture,
    Reader,
    Stream,
    TextAwareImageTransform,
    TextTransform,
)
from mmtk.kinds.model import (
    CaptioningHead,
    ForwardContext,
    Head,
    ImageEncoder,
    ImageEncoding,
    Loss,
    MatchingHead,
    Model,
    Momentum,
    NegativeSampler,
    TextEncoding,
    Tokenizer,
    WordMappingHead,
)
from mmtk.kinds.runs import Exporter, Importer, ReportSection, Stage, WeightSource
from mmtk.kinds.training import LayerWrapper, Logger, Metric, OptimizerFactory, Schedule, Strategy

__all__ = [
    "KINDS",
    "Blueprint",
    "CapfiltStep",
    "CaptioningHead",
    "Executor",
    "Exporter",
    "ForwardContext",
    "Head",
    "ImageEncoder",
    "ImageEncoding",
    "ImageTransform",
    "Importer",
    "Kind",
    "LayerWrapper",
    "LazyImageTransform",
    "Logger",
    "Loss",
    "MatchingHead",
    "Metric",
    "Model",
    "Momentum",
    "NegativeSampler",
    "OptimizerFactory",
    "Picture",
    "Reader",
    "ReportSection",
    "Schedule",
    "Stage",
    "Strategy",
    "Stream",
    "TextAwareImageTransform",
    "TextEncoding",
    "TextTransform",
    "Tokenizer",
    "WeightSource",
    "WordMappingHead",
]

T_co = TypeVar("T_co", covariant=True)


class Blueprint(Protocol[T_co]):
    """A checked component that is not built yet. ``mmtk.recipe.build`` implements it."""

    def build(self, **injected: Any) -> T_co:
        """Import the factory and call it. Raises RecipeError with the node's place if it refuses its keys."""


@dataclass(frozen=True)
class Kind:
    """A kind of component: its protocol and what its factories are given beside their config."""

    name: str
    protocol: type
    injected: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("image_encoder", ImageEncoder),
        Kind("text_encoder", object, ("vocab_size", "image_width")),
        Kind("tokenizer", Tokenizer),
        Kind("model", Model),
        Kind("head", Head, ("model",)),
        Kind("loss", Loss),
        Kind("momentum", Momentum, ("model",)),
        Kind("negatives", NegativeSampler),
        Kind("reader", Reader),
        Kind("stream", Stream),
        Kind("image_transform", ImageTransform),
        Kind("text_transform", TextTransform),
        Kind("optimizer", OptimizerFactory),
        Kind("schedule", Schedule),
        Kind("strategy", Strategy),
        Kind("activation_checkpointing", LayerWrapper),
        Kind("logger", Logger, ("folder",)),
        Kind("metric", Metric),
        Kind("report_section", ReportSection, ("device", "registry")),
        Kind("weights", WeightSource),
        Kind("importer", Importer),
        Kind("exporter", Exporter),
        Kind("capfilt_step", CapfiltStep, ("device", "registry", "data_limits")),
        Kind("executor", Executor),
        Kind("stage", Stage),
    )
}
