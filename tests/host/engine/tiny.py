"""A model of a few parameters, two heads, a momentum copy and a reader: training takes milliseconds."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmtk.config import Input, Range
from mmtk.data.configs import DataConfig, SourceConfig
from mmtk.distributed.strategies import Ddp
from mmtk.engine.loggers import JsonLines
from mmtk.engine.optimizers import AdamW
from mmtk.engine.schedules import WarmupCosine
from mmtk.registry import Component, Registration, Registry
from mmtk.types import Batch, ComponentNode, HeadOutput, Quarantined, RawSample, StepState

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 210), "grey": (128, 128, 128)}


class TinyModel(nn.Module):
    """Images and texts to points; both layers read one tied table."""

    def __init__(self, *, width: int = 4, dropout: float = 0.0, words: Path | None = None) -> None:
        super().__init__()
        self.names = words.read_text("utf-8").split() if words else list(COLOURS)
        self.image = nn.Linear(3, width)
        self.text = nn.Embedding(len(self.names), width)
        self.text_again = nn.Linear(width, len(self.names), bias=False)
        self.text_again.weight = self.text.weight
        self.dropout = nn.Dropout(dropout)
        self.temperature = nn.Parameter(torch.tensor(0.5))
        self.steps_begun: list[int] = []

    def before_step(self, state: StepState) -> None:
        self.steps_begun.append(state.step)
        with torch.no_grad():
            self.temperature.clamp_(0.05, 0.5)

    def context(self, batch: Batch, state: StepState, momentum: Any = None) -> TinyContext:
        return TinyContext(self, batch, state, momentum)

    def feature_towers(self) -> nn.Module:
        return self.image


@dataclass
class TinyContext:
    model: TinyModel
    batch: Batch
    state: StepState
    momentum: Any
    reads: list[str] = field(default_factory=list)

    @cached_property
    def image(self) -> Tensor:
        self.reads.append("image")
        return self.model.dropout(self.model.image(self.batch.images.mean((2, 3))))

    @cached_property
    def targets(self) -> Tensor:
        return torch.tensor([self.model.names.index(text) for text in self.batch.texts])

    @cached_property
    def text(self) -> Tensor:
        return self.model.text(self.targets)


class NamingHead(nn.Module):
    """Names the colour of an image."""

    chance_loss = 1.3863

    def __init__(self, *, model: TinyModel, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(len(model.names)))

    def forward(self, context: TinyContext) -> HeadOutput:
        logits = context.model.text_again(context.image) / context.model.temperature + self.bias
        right = (logits.argmax(1) == context.targets).float().mean()
        return HeadOutput(
            self.weight * nn.functional.cross_entropy(logits, context.targets), {"accuracy": right.detach()}
        )


class NoisyHead(nn.Module):
    """Pulls images and their texts together, with noise from the step's own generator."""

    def __init__(self, *, model: TinyModel) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(model.text.embedding_dim))

    def forward(self, context: TinyContext) -> HeadOutput:
        noise = torch.randn(context.image.shape, generator=context.state.generator("noise"))
        return HeadOutput((self.scale * (context.image + 0.1 * noise - context.text)).square().mean(), {})


class UnusedHead(nn.Module):
    """Shortens the images' points, and has a parameter that never gets a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, context: TinyContext) -> HeadOutput:
        return HeadOutput(context.image.square().mean(), {})


class TinyMomentum(nn.Module):
    """A slow copy with a queue of one batch's means."""

    twin: nn.Module
    queue: Tensor

    def __init__(self, *, model: TinyModel, rate: float = 0.9) -> None:
        super().__init__()
        self.twin = copy.deepcopy(model.feature_towers()).requires_grad_(False)
        self.rate = rate
        self.register_buffer("queue", torch.zeros(model.image.out_features))
        self.calls: list[str] = []
        self._online = [model.image]  # in a list, so that it is no submodule

    @torch.no_grad()
    def before_step(self, state: StepState) -> None:
        self.calls.append(f"before {state.step}")
        for slow, fast in zip(self.twin.parameters(), self._online[0].parameters(), strict=True):
            slow.lerp_(fast, 1 - self.rate)

    @torch.no_grad()
    def after_step(self, contexts: Sequence[TinyContext]) -> None:
        self.calls.append(f"after {len(contexts)}")
        self.queue.copy_(contexts[0].image.mean(0))


class ColourReader:
    """Plain squares named by their colour; sample ``broken`` is no picture."""

    def __init__(self, *, samples: int = 24, broken: int | None = None) -> None:
        self.samples = samples
        self.broken = broken
        self.quarantined: Sequence[Quarantined] = ()

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> RawSample:
        name = list(COLOURS)[index % len(COLOURS)]
        file = io.BytesIO()
        Image.new("RGB", (16, 16), COLOURS[name]).save(file, "PNG")
        image = b"no picture" if index == self.broken else file.getvalue()
        return RawSample(f"sample{index}", image, (name,), f"image{index}", "web", "memory")


class ColourStream:
    """The squares of ``ColourReader``, in shards of ``per_shard`` that are read from front to back."""

    def __init__(self, *, shards: int = 4, per_shard: int = 7, broken: int | None = None) -> None:
        self.shards = [f"memory/{shard}.tar" for shard in range(shards)]
        self._per_shard = per_shard
        self._squares = ColourReader(samples=shards * per_shard, broken=broken)

    def read(self, shard: str) -> Iterator[RawSample]:
        first = self.shards.index(shard) * self._per_shard
        for index in range(first, first + self._per_shard):
            yield self._squares[index]


def batch(size: int = 6, value: float = 0.5) -> Batch:
    names = tuple(list(COLOURS)[index % len(COLOURS)] for index in range(size))
    images = torch.full((size, 3, 2, 2), value) * torch.arange(1, size + 1).view(-1, 1, 1, 1)
    return Batch(images, names, torch.arange(size), tuple(f"sample{index}" for index in range(size)))


@dataclass(frozen=True)
class Part:
    """A blueprint of ``factory``, which keeps its node as the recipe layer's blueprints do."""

    node: ComponentNode
    factory: Callable[..., Any]

    @property
    def described(self) -> str:
        return f"{self.node.kind} '{self.node.use}' (from tiny/tiny-parts 1.0)"

    def build(self, **injected: Any) -> Any:
        return self.factory(**self.node.keys, **injected)


def part(kind: str, use: str, factory: Callable[..., Any], **keys: Any) -> Part:
    return Part(ComponentNode(kind, use, keys), factory)


def to_pixels(image: Image.Image, generator: torch.Generator) -> Tensor:
    """``(3, H, W)``, with noise as an augmentation has it."""
    pixels = torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1) / 255
    return pixels + 0.02 * torch.randn(pixels.shape, generator=generator)


def train_fields(**changed: Any) -> dict[str, Any]:
    """The fields of a ``TrainConfig`` that trains the tiny model for three epochs of four steps."""
    reader = part("reader", "colours", ColourReader)
    fields: dict[str, Any] = {
        "model": part("model", "tiny", TinyModel, dropout=0.2),
        "heads": {"naming": part("head", "naming", NamingHead), "noisy": part("head", "noisy", NoisyHead)},
        "data": DataConfig(
            sources={"web": SourceConfig(reader=reader)},
            image_transform=part("image_transform", "pixels", lambda: to_pixels),
            text_transform=part("text_transform", "as_is", lambda: str),
            batch_size=6,
        ),
        "epochs": 3,
        "momentum": part("momentum", "slow", TinyMomentum),
        "optimizer": part("optimizer", "adamw", AdamW, lr=0.05),
        "schedule": part("schedule", "warmup_cosine", WarmupCosine, warmup_steps=2),
        "loggers": {"jsonl": part("logger", "jsonl", JsonLines)},
        "log_every": 3,
        "strategy": part("strategy", "ddp", Ddp),
    }
    return fields | changed


@dataclass(frozen=True, kw_only=True)
class TinyModelConfig:
    """A tiny model."""

    width: Annotated[int, Range(1)] = 4
    dropout: float = 0.0
    words: Annotated[Path | None, Input("words")] = None


@dataclass(frozen=True, kw_only=True)
class NamingHeadConfig:
    """Names colours."""

    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class NoisyHeadConfig:
    """Takes nothing."""


@dataclass(frozen=True, kw_only=True)
class ShrinkConfig:
    """Makes pictures small."""

    size: int


@dataclass(frozen=True, kw_only=True)
class ReplaceConfig:
    """Replaces words."""

    words: Annotated[Path, Input("file")]


def registry() -> Registry:
    """The tiny components as a plugin would offer them."""
    here = "tests.host.engine.tiny"
    components = (
        Component("model", "tiny", f"{here}:TinyModel", f"{here}:TinyModelConfig"),
        Component("head", "naming", f"{here}:NamingHead", f"{here}:NamingHeadConfig"),
        Component("head", "noisy", f"{here}:NoisyHead", f"{here}:NoisyHeadConfig"),
        Component("image_transform", "shrink", "builtins:object", f"{here}:ShrinkConfig"),
        Component("text_transform", "replace", "builtins:object", f"{here}:ReplaceConfig"),
    )
    return Registry(Registration(component, "tiny", "mmtk-tiny", "1.0") for component in components)
