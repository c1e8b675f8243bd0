"""What the engine's components take. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from mmtk.config import Input, NodeDefault, Range, Slot, node, nodes
from mmtk.data.configs import DataConfig
from mmtk.kinds import (
    Blueprint,
    Head,
    LayerWrapper,
    Logger,
    Model,
    Momentum,
    OptimizerFactory,
    Schedule,
    Strategy,
    WeightSource,
)
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
    implementation: Literal["auto", "fused", "foreach", "plain"] = "auto"
    """one kernel for all parameters, one for each operation on all of them, or parameter by parameter; `auto`
    is fused where the device has it"""
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
class WeightsAndBiasesConfig:
    """Sends the figures to Weights & Biases; needs `mmtk[wandb]`."""

    project: str = "mmtk"
    """The project there."""
    entity: str | None = None
    """The user or team; null takes the account's default."""
    name: str | None = None
    """The run's name there; null is the run's folder and the stage."""
    mode: Literal["online", "offline"] = "online"
    """`offline` keeps all in the stage's folder, for `wandb sync` later."""


@dataclass(frozen=True, kw_only=True)
class TensorBoardConfig:
    """Writes the figures to `tensorboard/` in the stage's folder."""


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """What training computes in. Weights, optimizer and momentum encoder stay in float32."""

    autocast: Literal["none", "bfloat16", "float16"] = "none"
    """type of the forward pass's matrix products; float16 scales the loss by itself"""
    tf32: bool = False
    """let NVIDIA GPUs round float32 factors to 10 bits, which is several times as fast"""


FLOAT32 = PrecisionConfig()


@dataclass(frozen=True, kw_only=True)
class SavingConfig:
    """How training states are kept, from which an interrupted run goes on."""

    keep_last: Annotated[int, Range(1, None)] = 2
    """the newest states stay; an older one is taken where a newer one is damaged"""
    best_by: str | None = None
    """a figure, e.g. `loss` or `loss/lm`: the state with its lowest mean since the state before stays as
    well; with `form: whole` its learner is the checkpoint `best` beside the last one, if that isn't it"""
    asynchronous: bool = False
    """write in the background, from a copy in memory, while training goes on; for `form: whole`"""
    form: Literal["whole", "sharded"] = "whole"
    """one safetensors file that rank 0 writes, or torch's distributed checkpoint, of which each rank writes
    a part: for models that don't fit into one rank's memory"""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.asynchronous and self.form == "sharded":
            yield "asynchronous", "is for form: whole; each rank writes its own shards while all wait"


SAVING = SavingConfig()


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """Which steps `torch.profiler` traces: the first ones that a stage does after a warm-up."""

    steps: Annotated[int, Range(1, None)] = 5
    """steps in the trace"""
    warmup: Annotated[int, Range(1, None)] = 2
    """steps before them, which are slower: the first allocates memory and, with `compile`, compiles"""


@dataclass(frozen=True, kw_only=True)
class SingleConfig:
    """One process that holds everything."""


@dataclass(frozen=True, kw_only=True)
class DdpConfig:
    """Every process holds everything; gradients are averaged (torch's DistributedDataParallel)."""


@dataclass(frozen=True, kw_only=True)
class Fsdp2Config:
    """Parameters, gradients, optimizer state and momentum encoder in shards (torch's fully_shard)."""

    reshard_after_forward: bool = True
    """drop gathered parameters after a layer's forward pass: less memory, more traffic"""
    cpu_offload: bool = False
    """keep the shards in the CPU's memory between uses; needs a GPU"""


@dataclass(frozen=True, kw_only=True)
class TorchCheckpointingConfig:
    """Recomputes activations in the backward pass instead of keeping them (torch.utils.checkpoint)."""

    layers: Annotated[float, Range(0, 1, low_open=True)] = 1.0
    """share of the layers, from the last one on"""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Trains a model with its heads on a mixture of datasets."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {
        "checkpoint": Output("checkpoint", "checkpoint"),
        "metrics": Output("metrics", "metrics.jsonl"),
        "quarantine": Output("quarantine", "quarantine.jsonl"),
    }
    SAME_RESULT: ClassVar[tuple[str, ...]] = (
        "strategy",
        "saving",
        "save_every",
        "profile",
        "data.workers",
        "data.prefetch",
    )

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
    saving: SavingConfig = SAVING
    """how many training states are kept, and in which form"""
    strategy: Annotated[Blueprint[Strategy], Slot("strategy")] = node("ddp")
    """how the model is spread over the processes of a run; of one process every strategy makes the same"""
    activation_checkpointing: Annotated[Blueprint[LayerWrapper] | None, Slot("activation_checkpointing")] = (
        None
    )
    """recompute activations in the backward pass: about a third more work for far less memory"""
    precision: PrecisionConfig = FLOAT32
    """what the forward pass computes in"""
    compile: bool = False
    """compile the model's layers by `torch.compile`, which takes a minute or more at the start"""
    profile: ProfileConfig | None = None
    """trace a few steps by `torch.profiler` to trace.json.gz, for Perfetto or Chrome; rank 0's"""
    max_nonfinite: Annotated[int, Range(0, None)] = 5
    """steps in a row whose loss or gradient is not finite: each is skipped, counted, and its samples are
    noted in nonfinite.jsonl; one more ends the run"""

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
