"""The engine's components, as the host's own plugin lists them."""

from __future__ import annotations

from mmtk.registry import Component


def _component(kind: str, name: str, factory: str, config: str, summary: str) -> Component:
    return Component(kind, name, f"mmtk.engine.{factory}", f"mmtk.engine.configs:{config}", summary)


COMPONENTS: list[Component] = [
    _component("stage", "train", "train:TrainStage", "TrainConfig", "trains a model with its heads"),
    _component(
        "optimizer", "adamw", "optimizers:AdamW", "AdamWConfig", "AdamW, with no-decay groups as an option"
    ),
    _component(
        "schedule",
        "warmup_cosine",
        "schedules:WarmupCosine",
        "WarmupCosineConfig",
        "warm-up, then a cosine by step",
    ),
    _component(
        "schedule", "blip_step", "schedules:BlipStep", "BlipStepConfig", "BLIP's pre-training: decay by epoch"
    ),
    _component(
        "schedule",
        "cosine_epochs",
        "schedules:CosineEpochs",
        "CosineEpochsConfig",
        "BLIP's fine-tuning and ALBEF's pre-training: cosine by epoch",
    ),
    _component("schedule", "constant", "schedules:Constant", "ConstantConfig", "the peak rate throughout"),
    _component(
        "weights",
        "checkpoint",
        "initialise:CheckpointWeights",
        "CheckpointWeightsConfig",
        "a checkpoint of mmtk",
    ),
    _component("logger", "jsonl", "loggers:JsonLines", "JsonLinesConfig", "figures to metrics.jsonl"),
    _component("logger", "tensorboard", "loggers:TensorBoard", "TensorBoardConfig", "figures to TensorBoard"),
    _component(
        "logger", "wandb", "loggers:WeightsAndBiases", "WeightsAndBiasesConfig", "figures to Weights & Biases"
    ),
    Component(
        "strategy",
        "single",
        "mmtk.distributed.strategies:Single",
        "mmtk.engine.configs:SingleConfig",
        "one process that holds everything",
    ),
    Component(
        "strategy",
        "ddp",
        "mmtk.distributed.strategies:Ddp",
        "mmtk.engine.configs:DdpConfig",
        "every process holds everything, gradients are averaged",
    ),
    Component(
        "strategy",
        "fsdp2",
        "mmtk.distributed.strategies:Fsdp2",
        "mmtk.engine.configs:Fsdp2Config",
        "parameters, gradients and optimizer state in shards",
    ),
    _component(
        "activation_checkpointing",
        "torch_checkpoint",
        "recompute:TorchCheckpointing",
        "TorchCheckpointingConfig",
        "recomputes activations by torch",
    ),
]
