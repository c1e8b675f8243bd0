"""A learner and readers small enough to work out by hand, for stages that only read a checkpoint."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mmtk.data.configs import EvaluationDataConfig
from mmtk.data.images.transforms import BlipTest
from mmtk.data.texts import BlipCaption
from mmtk.engine.learner import Learner
from mmtk.errors import DataError
from mmtk.registry import Registry
from mmtk.stages.context import StageContext
from mmtk.types import Decoding, Quarantined, RawSample, stable_hash

WIDTH = 4


@dataclass
class Images:
    """One embedding per image, ``(B, 1, WIDTH)``."""

    embeds: Tensor

    def __len__(self) -> int:
        return len(self.embeds)

    @property
    def features(self) -> Tensor:
        return nn.functional.normalize(self.embeds[:, 0], dim=-1)

    def select(self, index: Tensor) -> Images:
        return Images(self.embeds[index])


@dataclass
class Texts:
    strings: list[str]

    def __len__(self) -> int:
        return len(self.strings)

    @cached_property
    def features(self) -> Tensor:
        return nn.functional.normalize(torch.stack([text_point(text) for text in self.strings]), dim=-1)

    def select(self, index: Tensor) -> Texts:
        return Texts([self.strings[i] for i in index.tolist()])


def text_point(text: str) -> Tensor:
    """A point ``(WIDTH,)`` that depends on the text alone."""
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(stable_hash(text)))


def match_logit(embed: Tensor, text: str) -> float:
    """What the matching head says of one pair, however it is batched."""
    return float((embed * text_point(text + "!")).sum())


class SmallModel(nn.Module):
    """Takes the first ``WIDTH`` pixels of an image for its embedding. ``encoded`` lists the images it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.encoded: list[tuple[float, ...]] = []

    def encode_images(self, images: Tensor) -> Images:
        embeds = images.flatten(1)[:, :WIDTH]
        self.encoded += [tuple(row) for row in embeds.tolist()]
        return Images(embeds[:, None])

    def encode_texts(self, texts: Sequence[str]) -> Texts:
        return Texts(list(texts))


class SmallMatching(nn.Module):
    """Matches by ``match_logit``; ``pairs`` lists the texts it was asked about, batch by batch."""

    def __init__(self, logit: Callable[[Tensor, str], float] = match_logit) -> None:
        super().__init__()
        self.logit = logit
        self.pairs: list[list[str]] = []

    def match_logits(self, images: Images, texts: Texts) -> Tensor:
        assert len(images) == len(texts)
        self.pairs.append(texts.strings)
        match = [self.logit(embed[0], text) for embed, text in zip(images.embeds, texts.strings, strict=True)]
        return torch.stack([torch.zeros(len(match)), torch.tensor(match)], dim=1)


class SmallCaptioning(nn.Module):
    """Writes ``picture N`` with N drawn from the generator, or from the image when it is not to sample."""

    def __init__(self) -> None:
        super().__init__()
        self.decodings: list[Decoding] = []

    def generate(
        self, images: Images, decoding: Decoding, generator: torch.Generator | None = None
    ) -> list[str]:
        self.decodings.append(decoding)
        if decoding.method == "beam":
            return [f"picture {stable_hash(row.tolist()) % 1000}" for row in images.embeds]
        return [f"picture {n}" for n in torch.randint(1000, (len(images),), generator=generator).tolist()]


def small_learner(**heads: nn.Module) -> Learner:
    return Learner(SmallModel(), heads or {"itm": SmallMatching(), "lm": SmallCaptioning()})


@dataclass
class Built:
    """A blueprint of a component that is built already."""

    component: Any

    def build(self, **_: Any) -> Any:
        return self.component


@dataclass
class ListReader:
    """Samples in memory; an exception among them is raised when it is read. ``reads`` lists the indices."""

    samples: Sequence[RawSample | DataError]
    quarantined: Sequence[Quarantined] = ()
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> RawSample:
        self.reads.append(index)
        sample = self.samples[index]
        if isinstance(sample, DataError):
            raise sample
        return sample


def picture(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A PNG whose pixels depend on ``number`` alone."""
    noise = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(number))
    buffer = io.BytesIO()
    Image.fromarray(noise.to(torch.uint8).numpy()).save(buffer, "png")
    return buffer.getvalue()


def sample(number: int, *texts: str, key: str = "", image_id: str = "", source: str = "web") -> RawSample:
    """The pair of picture ``number`` and its texts."""
    key = key or f"k{number}"
    return RawSample(key, picture(number), texts or (f"text {number}",), image_id or key, source, "memory")


def data_config(reader: Any, *, batch_size: int = 3, workers: int = 0) -> EvaluationDataConfig:
    return EvaluationDataConfig(
        reader=Built(reader),
        image_transform=Built(BlipTest(size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))),
        text_transform=Built(BlipCaption()),
        batch_size=batch_size,
        workers=workers,
    )


def stage_context(folder: Path, *, seed: int = 0, lines: list[str] | None = None) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    said = lines if lines is not None else []
    return StageContext("stage", folder, seed, "cpu", Registry(), said.append)
