"""What the components that read and write weights take. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mmtk.api import Input, Range

Count = Annotated[int, Range(1)]
TransformersTask = Literal["auto", "caption", "retrieval", "vqa"]
PublicTask = Literal["auto", "pretrain", "caption", "retrieval", "vqa"]


@dataclass(frozen=True, kw_only=True)
class BlipImporterConfig:
    """Read a checkpoint file of public BLIP or LAVIS."""

    vocab: Path | None = None
    """The vocabulary it was trained with, a BERT ``vocab.txt``: the file holds none, so this is required."""
    lowercase: bool = True
    """Whether its texts were lower-cased."""
    image_size: Count | None = None
    """Edge of the pictures from now on; the checkpoint's own if left out."""
    heads: Count | None = None
    """Attention heads of the text transformer; one for each 64 of its width if left out."""
    image_heads: Count | None = None
    """Attention heads of the image encoder, likewise."""
    max_length: Annotated[int, Range(3)] | None = None
    """Longest text in tokens; what the public code trained this kind of checkpoint with if left out."""


@dataclass(frozen=True, kw_only=True)
class TransformersImporterConfig:
    """Read a folder that transformers' BLIP classes wrote."""

    vocab: Path | None = None
    """Vocabulary; the folder's vocab.txt or tokenizer.json if left out."""
    image_size: Count | None = None
    """Edge of the pictures from now on; the checkpoint's own if left out."""
    max_length: Annotated[int, Range(3)] | None = None
    """Longest text in tokens; the folder's tokenizer's, or the public code's, if left out."""


@dataclass(frozen=True, kw_only=True)
class BlipWeightsConfig:
    """First weights from a BLIP checkpoint: of the public code, LAVIS or transformers."""

    path: Annotated[Path, Input("weights")]
    """File (.pth, .pt, .bin, .safetensors) or transformers folder."""


@dataclass(frozen=True, kw_only=True)
class TimmWeightsConfig:
    """First weights of the image encoder from a ViT or DeiT of timm's."""

    name: str | None = None
    """A model of timm's with pretrained weights, fetched from the hub, e.g. ``deit_base_patch16_224``."""
    path: Annotated[Path | None, Input("weights")] = None
    """A local file of its weights instead, e.g. the public ``deit_base_patch16_224-b5f2ef4d.pth``."""

    def check(self) -> Iterator[tuple[str, str]]:
        yield from _either(self.name, self.path)


@dataclass(frozen=True, kw_only=True)
class BertWeightsConfig:
    """First weights of the text transformer and the heads that predict words, from BERT."""

    name: str | None = None
    """A BERT of the hub, e.g. ``bert-base-uncased``."""
    path: Annotated[Path | None, Input("weights")] = None
    """A local file or folder of its weights instead. With a vocab.txt, the vocabularies are compared."""

    def check(self) -> Iterator[tuple[str, str]]:
        yield from _either(self.name, self.path)


@dataclass(frozen=True, kw_only=True)
class BlipExporterConfig:
    """Write the file of public BLIP."""

    task: PublicTask = "auto"
    """Whose layout. ``auto``: pre-training's for a learner with LM and ITM heads, else that of its head."""


@dataclass(frozen=True, kw_only=True)
class TransformersExporterConfig:
    """Write folders for transformers' BLIP classes."""

    task: TransformersTask = "auto"
    """``caption``: BlipForConditionalGeneration; ``retrieval``: BlipForImageTextRetrieval; ``vqa``:
    BlipForQuestionAnswering; ``auto``: by the learner's head, or with several (LM, ITM, VQA) each in a
    subfolder of its task's name."""


def _either(name: str | None, path: Path | None) -> Iterator[tuple[str, str]]:
    if (name is None) == (path is None):
        yield "name", "give either name or path"
