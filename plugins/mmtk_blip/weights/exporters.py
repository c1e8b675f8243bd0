"""Exporters: a learner in the layout of public BLIP, or as folders of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn

from mmtk.api import CheckpointError, ExportSource, Learner, whole_folder, write_safetensors
from mmtk_blip.image_encoder import VIT_NORM_EPS, TimmViT
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import TextTransformer
from mmtk_blip.tokenizer import WordPiece
from mmtk_blip.weights.card import model_card
from mmtk_blip.weights.configs import PublicTask, TransformersTask
from mmtk_blip.weights.hf import transformers_name
from mmtk_blip.weights.hf_files import write_configs, write_processor
from mmtk_blip.weights.names import DECODER, ENCODER, PREDICTIONS, VISION
from mmtk_blip.weights.public import TEXT, Heads, public_tensors, sharing_of

# What each layout holds, by the beginnings of public names; all hold the image encoder.
_TOWERS = ("vision_proj.", "text_proj.")
_PARTS = {
    "caption": (DECODER, PREDICTIONS),
    "retrieval": (ENCODER, *_TOWERS, "itm_head.", "temp"),
    "vqa": (ENCODER, DECODER, PREDICTIONS),
    "pretrain": (ENCODER, *_TOWERS, "itm_head.", "temp", DECODER, PREDICTIONS),
}
_VIT = "visual_encoder."
_MOMENTUM = ("visual_encoder.", "text_encoder.", *_TOWERS)
_HEADS = {"caption": "an LM head", "retrieval": "an ITM head", "vqa": "a VQA head"}
_PRETRAINS_SHARING = ("all", "all_but_sa")


class BlipExporter:
    """Writes the ``.pth`` file of public BLIP's pre-training, captioning or retrieval; kind ``exporter``.

    Args:
        task: whose layout. ``auto``: pre-training's for a learner with LM and ITM heads, else that of its
            head.
    """

    def __init__(self, *, task: PublicTask = "auto") -> None:
        self._task = task

    def __call__(self, source: ExportSource, target: Path) -> tuple[str, ...]:
        """Write ``{"model": tensors}``, which ``torch.load(…, weights_only=True)`` reads.

        Raises CheckpointError when public BLIP can't represent the learner, or a head is missing.
        """
        learner = exportable(source.learner)
        task = _public_task(self._task, tasks_of(learner))
        tensors = public_tensors(learner)
        _check_tied(tensors, task)
        found = part(tensors, task)
        found |= _buffers(found, learner.model.text_transformer.max_positions)
        if task in ("pretrain", "retrieval"):
            found |= {
                name.replace(".", "_m.", 1): tensor
                for name, tensor in found.items()
                if name.startswith(_MOMENTUM)
            }
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        try:
            torch.save({"model": found}, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return (*_public_notes(learner, task), *_left_out(learner))


class TransformersExporter:
    """Writes folders that transformers' BLIP classes load; kind ``exporter``.

    Args:
        task: ``caption`` for BlipForConditionalGeneration, ``retrieval`` for BlipForImageTextRetrieval,
            ``vqa`` for BlipForQuestionAnswering. ``auto``: the one whose head the learner has; with several
            heads, a subfolder for each, of its task's name.
    """

    def __init__(self, *, task: TransformersTask = "auto") -> None:
        self._task = task

    def __call__(self, source: ExportSource, target: Path) -> tuple[str, ...]:
        """Write config, weights, tokenizer, image processor and a model card.

        Raises CheckpointError when transformers can't represent the learner, or a head is missing.
        """
        learner = exportable(source.learner)
        tasks = tasks_of(learner)
        if self._task != "auto":
            require(self._task, tasks)
            tasks = [self._task]
        model = learner.model
        if "vqa" in tasks and model.image_width != model.text_width:
            raise CheckpointError(
                f"transformers' BlipForQuestionAnswering reads questions at the pictures' width, and here "
                f"they differ: {model.text_width} and {model.image_width}"
            )
        with whole_folder(target) as partial:
            for task in tasks:
                folder = partial if len(tasks) == 1 else partial / task
                folder.mkdir(exist_ok=True)
                _write_folder(source, task, folder)
        if len(tasks) == 1:
            return _left_out(learner)
        folders = " and ".join(f"{task}/" for task in tasks)
        return (f"transformers has a class for each task: wrote {folders}", *_left_out(learner))


def _public_task(asked: str, tasks: list[str]) -> str:
    """The layout to write. Raises CheckpointError when a head for it is missing or none holds them all."""
    task = asked
    if asked == "auto":
        task = "pretrain" if tasks == ["caption", "retrieval"] else tasks[0]
        if task != "pretrain" and len(tasks) > 1:
            raise CheckpointError(f"no layout of public BLIP holds all of {', '.join(tasks)}; choose a task")
    for needed in ("caption", "retrieval") if task == "pretrain" else (task,):
        require(needed, tasks)
    return task


def _check_tied(tensors: Mapping[str, Tensor], task: str) -> None:
    """Raise CheckpointError for pre-training whose encoder and decoder differ in what public BLIP ties."""
    sharing = sharing_of(tensors)
    if task == "pretrain" and sharing not in _PRETRAINS_SHARING:
        raise CheckpointError(
            f"sharing '{sharing}': public BLIP's pre-training ties encoder and decoder except for "
            "self-attention; export task=caption and task=retrieval, each to a file of its own"
        )


def _write_folder(source: ExportSource, task: str, folder: Path) -> None:
    learner = source.learner
    found = {
        transformers_name(name): tensor.detach().clone().contiguous()
        for name, tensor in part(public_tensors(learner), task).items()
        # The class ties the former itself and has no temperature.
        if not name.startswith(f"{PREDICTIONS}decoder.") and name != "temp"
    }
    write_safetensors(found, folder / "model.safetensors", {"format": "pt"})
    write_configs(learner, task, folder)
    write_processor(learner.model, folder)
    (folder / "README.md").write_text(model_card(source, task), "utf-8")


def tasks_of(learner: Learner) -> list[str]:
    """The layouts that a learner's heads allow. Raises CheckpointError for none."""
    heads = Heads.of(learner)
    for kind, names in (("ITM", heads.itm), ("LM", heads.lm), ("VQA", heads.vqa)):
        if len(names) > 1:
            raise CheckpointError(f"{len(names)} {kind} heads ({', '.join(names)}); BLIP's layouts have one")
    found = {"caption": heads.lm, "retrieval": heads.itm, "vqa": heads.vqa}
    tasks = [task for task, names in found.items() if names]
    if not tasks:
        raise CheckpointError("no LM, ITM or VQA head: BLIP's layouts have no place for the rest")
    return tasks


def require(task: str, tasks: list[str]) -> None:
    """Raise CheckpointError where ``task`` is none of ``tasks``."""
    if task not in tasks:
        raise CheckpointError(f"task '{task}' needs {_HEADS[task]}, and the learner has none")


def part(tensors: Mapping[str, Tensor], task: str) -> dict[str, Tensor]:
    """Those of all public tensors that one layout holds."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith((_VIT, *_PARTS[task]))}


def exportable(learner: Learner) -> Learner:
    """The learner itself, if BLIP's layouts can represent its model.

    Raises CheckpointError that names what they can't represent.
    """
    model = learner.model
    if not isinstance(model, Med):
        raise CheckpointError(f"the exporter writes the model 'med', and this is {type(model).__name__}")
    if not isinstance(model.tokenizer, WordPiece):
        raise CheckpointError(
            f"BLIP's text model has a WordPiece tokenizer, and this learner {type(model.tokenizer).__name__}"
        )
    if not isinstance(model.text_transformer, TextTransformer):
        raise CheckpointError(
            f"BLIP's text model is 'med_bert', and this learner's is {type(model.text_transformer).__name__}"
        )
    encoder = model.image_encoder
    if not isinstance(encoder, TimmViT):
        raise CheckpointError(
            f"BLIP's image encoder is a plain ViT (timm_vit), and this learner's is {type(encoder).__name__}"
        )
    vit = encoder.vit
    if not isinstance(vit.patch_embed, PatchEmbed):
        raise CheckpointError(
            f"BLIP's ViT embeds patches by one linear map, and this one by {type(vit.patch_embed).__name__} "
            "(stem)"
        )
    activation = cast(Any, vit.blocks[0]).mlp.act
    strange = [name for name in vit.state_dict() if VISION.theirs(_VIT + name) is None]
    if strange or not isinstance(activation, nn.GELU):
        what = strange[0] if strange else type(activation).__name__
        raise CheckpointError(f"BLIP's ViT has no {what}, which this learner's has")
    return learner


def _left_out(learner: Learner) -> tuple[str, ...]:
    """A sentence on the heads with tensors that BLIP's layouts have no place for."""
    heads = Heads.of(learner)
    known = {*heads.itm, *heads.predict_words}
    others = [name for name, head in learner.heads.items() if name not in known and head.state_dict()]
    return (f"left out, BLIP's layouts have no place for them: heads {', '.join(others)}",) if others else ()


def _buffers(tensors: Mapping[str, Tensor], positions: int) -> dict[str, Tensor]:
    """The position numbers that public BERT layers write and expect."""
    return {
        f"{prefix}embeddings.position_ids": torch.arange(positions).expand(1, -1).clone()
        for prefix in (ENCODER, DECODER)
        if any(name.startswith(prefix) for name in tensors)
    }


def _public_notes(learner: Learner, task: str) -> tuple[str, ...]:
    notes = []
    if task in ("pretrain", "retrieval"):
        notes.append(
            "the file's momentum encoder (…_m) is a copy of the model, as at the start of public BLIP's "
            "training; its feature queue isn't in the file"
        )
    if learner.model.image_encoder.vit.norm.eps != VIT_NORM_EPS:
        notes.append(
            f"public BLIP's ViT has a LayerNorm epsilon of {VIT_NORM_EPS:g}, and this learner's "
            f"{learner.model.image_encoder.vit.norm.eps:g}"
        )
    own = sum(name.startswith(f"{TEXT}decoder_") for name in learner.state_dict())
    if task == "caption" and own and not Heads.of(learner).itm:
        notes.append("a captioning file holds the decoder only; the text encoder's own tensors are left out")
    return tuple(notes)
