"""What the engine's components take. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from mmtk.config import Input, NodeDefault, Range, Slot, node, nodes
from mmtk.data.configs import DataConfig
from mmtk.kinds import Blueprint, Head, Logger, Model, Momentum, OptimizerFactory, Schedule, WeightSource
from mmtk.stages.context import Output
from mmtk.types import ComponentNode

Init = (
    Annotated[Path, Input("checkpoint")]
    | Annotated[Blueprint[WeightSource], Slot("weights")]
    | Annotated[Sequence[Blueprint[WeightSource]], Slot("weights")]
    | None
)


@dataclass(frozen=True, kw_only=True)
class CheckpointWeightsConfig:
    """Weights of a checkpoint that a training stage or `mmtk import` made."""

    path: Annotated[Path, Input("checkpoint")]
    """the checkpoint's folder"""


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """AdamW with decoupled weight decay."""

    lr: Annotated[float, Range(0, None, low_open=True)] = 3e-4
    """the peak learning rate, which the schedule scales; BLIP pre-trains ViT-B with 3e-4"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay rates of the two moments"""
    eps: Annotated[float, Range(0, None, low_open=True)] = 1e-8
    """added to the denominator"""
    weight_decay: Annotated[float, Range(0, None)] = 0.05
    """decoupled weight decay"""
    no_decay: Literal["none", "bias_and_norm"] = "none"
    """spares nothing, as BLIP does, or all vectors and scalars, and position and class embeddings"""

    def check(self) -> Iterator[tuple[str, str]]:
        if not all(0 <= beta < 1 for beta in self.betas):
            yield "betas", f"must both be in [0, 1), not ({self.betas[0]:g}, {self.betas[1]:g})"


@dataclass(frozen=True, kw_only=True)
class WarmupCosineConfig:
    """Linear warm-up, then half a cosine over the rest of the run."""

    warmup_steps: Annotated[int, Range(0, None)] = 0
    """optimizer steps until the peak rate"""
    start: Annotated[float, Range(0, 1)] = 0.0
    """rate at step 0, as a factor on the peak"""
    floor: Annotated[float, Range(0, 1)] = 0.0
    """rate that the cosine ends at, as a factor on the peak"""


@dataclass(frozen=True, kw_only=True)
class BlipStepConfig:
    """BLIP's pre-training schedule: linear warm-up, then a decay from epoch to epoch."""

    warmup_steps: Annotated[int, Range(0, None)] = 3000
    """optimizer steps until the peak rate"""
    start: Annotated[float, Range(0, 1)] = 1e-6 / 3e-4
    """rate at step 0, as a factor on the peak (BLIP: 1e-6 of 3e-4)"""
    decay: Annotated[float, Range(0, 1, low_open=True)] = 0.9
    """factor per epoch; BLIP's code has 0.9, its paper 0.85"""
    floor: Annotated[float, Range(0, 1)] = 1e-6 / 3e-4
    """least rate after the warm-up, as a factor on the peak (BLIP: 1e-6 of 3e-4)"""


@dataclass(frozen=True, kw_only=True)
class CosineEpochsConfig:
    """BLIP's fine-tuning schedule: half a cosine that moves once per epoch; with a warm-up ALBEF's."""

    floor: Annotated[float, Range(0, 1)] = 0.0
    """rate it falls towards, as a factor on the peak"""
    warmup_steps: Annotated[int, Range(0, None)] = 0
    """optimizer steps of a linear warm-up"""
    start: Annotated[float, Range(0, 1)] = 0.0
    """rate at step 0 of the warm-up, as a factor on the peak"""


@dataclass(frozen=True, kw_only=True)
class ConstantConfig:
    """The peak rate throughout."""

    warmup_steps: Annotated[int, Range(0, None)] = 0
    """optimizer steps until the peak rate"""
    start: Annotated[float, Range(0, 1)] = 0.0
    """rate at step 0, as a factor on the peak"""


@dataclass(frozen=True, kw_only=True)
class JsonLinesConfig:
    """Writes the figures to `metrics.jsonl` in the stage's folder."""


@dataclass(frozen=True, kw_only=True)
class TensorBoardConfig:
    """Writes the figures to `tensorboard/` in the stage's folder."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Trains a model with its heads on a mixture of datasets."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {
        "checkpoint": Output("checkpoint", "checkpoint"),
        "metrics": Output("metrics", "metrics.jsonl"),
        "quarantine": Output("quarantine", "quarantine.jsonl"),
    }

    model: Annotated[Blueprint[Model], Slot("model")]
    """the model"""
    heads: Annotated[Mapping[str, Blueprint[Head]], Slot("head")]
    """the objectives, by name; their losses are added up"""
    data: DataConfig
    """what it is trained on"""
    epochs: Annotated[int, Range(1, None)]
    """passes over the data"""
    momentum: Annotated[Blueprint[Momentum] | None, Slot("momentum")] = None
    """a slow copy of the model for the contrastive head, if any"""
    init: Init = None
    """a checkpoint, a source of weights or a list of them; tensors are taken over where name and shape fit"""
    optimizer: Annotated[Blueprint[OptimizerFactory], Slot("optimizer")] = node("adamw")
    """turns gradients into steps"""
    schedule: Annotated[Blueprint[Schedule], Slot("schedule")] = node("warmup_cosine")
    """learning rate over time"""
    accumulate: Annotated[int, Range(1, None)] = 1
    """batches whose gradients make one optimizer step, for batches that don't fit into memory; queue, average
    and temperature move once a step, and each loss is the mean over all its batches. Contrast and negatives
    still see one batch (and the queue)"""
    max_steps: Annotated[int | None, Range(1, None)] = None
    """ends the run after so many optimizer steps, if that is before the last epoch's end"""
    clip_norm: Annotated[float | None, Range(0, None, low_open=True)] = None
    """greatest norm of the whole gradient; a longer one is shortened to it"""
    loggers: Annotated[Mapping[str, Blueprint[Logger]], Slot("logger")] = nodes(
        jsonl=NodeDefault("jsonl", {}), tensorboard=NodeDefault("tensorboard", {})
    )
    """where the figures go, beside the display"""
    log_every: Annotated[int, Range(1, None)] = 10
    """optimizer steps that one logged line averages over"""
    save_every: Annotated[int | None, Range(1, None)] = None
    """optimizer steps between saves of the training state; it is saved at each epoch's end in any case"""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.heads:
            yield "heads", "needs at least one head: without an objective there is nothing to train"
        for name in self.heads:
            if not name.isidentifier():
                yield f"heads.{name}", "the name of a head is made of letters, digits and underscores"
        if not any(_component(logger) == "jsonl" for logger in self.loggers.values()):
            yield "loggers", "needs a `jsonl` logger: it writes the stage's output metrics.jsonl"


def _component(slot: object) -> str:
    """The bare name of the component in a slot, which holds its node while a recipe is checked."""
    return slot.use.rpartition("/")[2] if isinstance(slot, ComponentNode) else ""
