"""Between the tensors of transformers' BLIP classes and public ones, and what its config.json adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import BlipConfig

from mmtk.api import CheckpointError
from mmtk_blip.weights.names import DECODER, ENCODER, PREDICTIONS, VISION
from mmtk_blip.weights.reading import read_json

CONFIG = "config.json"
GELU = "gelu"
# BlipModel's parts, which its other classes call otherwise.
_WHOLE = (
    ("text_model.", ENCODER),
    ("visual_projection.", "vision_proj."),
    ("text_projection.", "text_proj."),
)
_SCALE = "logit_scale"
# Second and first name of what writers of tied tensors may store once.
_TIED = (
    (f"{PREDICTIONS}decoder.bias", f"{PREDICTIONS}bias"),
    (f"{PREDICTIONS}decoder.weight", f"{DECODER}embeddings.word_embeddings.weight"),
)


class PublicTensors(NamedTuple):
    """Tensors by public names.

    Attributes:
        tensors: by public name, or by the file's own where it has none.
        names: public name to the file's, where they differ.
    """

    tensors: dict[str, Tensor]
    names: dict[str, str]


def is_transformers(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors bear the names of transformers' BLIP classes."""
    return any(name.startswith("vision_model.") for name in tensors)


def public(tensors: Mapping[str, Tensor]) -> PublicTensors:
    """Tensors of a transformers class by public names; of any other file as they are.

    A tied tensor that was written under its second name only gets its first one.

    ``BlipModel``'s logit scale ``s`` becomes the temperature ``exp(-s)``, and its projections, which have no
    biases, get zeros. Raises CheckpointError where it has none.
    """
    found: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    if not is_transformers(tensors):
        return PublicTensors(_first_names(dict(tensors)), names)
    for name, tensor in tensors.items():
        ours = _public_name(name)
        names[ours] = name
        found[ours] = torch.exp(-tensor) if name == _SCALE else tensor
    if _SCALE in tensors:
        for projection in ("vision_proj", "text_proj"):
            if f"{projection}.weight" not in found:
                raise CheckpointError(f"no BLIP checkpoint: it has {_SCALE}, but lacks {projection}.weight")
            found[f"{projection}.bias"] = torch.zeros(len(found[f"{projection}.weight"]))
    return PublicTensors(_first_names(found), names)


def _first_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for second, first in _TIED:
        if second in tensors:
            tensors.setdefault(first, tensors[second])
    return tensors


def transformers_name(public_name: str) -> str:
    """The name of a public tensor in BlipForConditionalGeneration, …Retrieval and …QuestionAnswering."""
    return VISION.theirs(public_name) or public_name


def _public_name(name: str) -> str:
    for theirs, ours in _WHOLE:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return "temp" if name == _SCALE else VISION.ours(name) or name


@dataclass(frozen=True)
class FolderConfig:
    """What config.json says beside shapes.

    Attributes:
        heads: attention heads of the text transformer.
        image_heads: attention heads of the vision model.
        vision_eps: epsilon of the vision model's LayerNorms.
        start_id: the decoder's first token.
    """

    heads: int
    image_heads: int
    vision_eps: float
    start_id: int | None


def folder_config(folder: Path) -> FolderConfig:
    """Read a BLIP folder's config.json, defaults filled in by transformers.

    Raises CheckpointError when it is missing, damaged, of another model, or has an activation but GELU.
    """
    path = folder / CONFIG
    plain = read_json(path)
    if not _is_blip(plain):
        raise CheckpointError(f"{path}: model_type is {plain.get('model_type')!r}; expected 'blip'")
    try:
        config = BlipConfig.from_dict(plain)
    # The checks of transformers' config classes have many kinds of exceptions.
    except Exception as error:
        raise CheckpointError(f"{path}: no config of BLIP: {error}") from error
    text: Any = config.text_config
    vision: Any = config.vision_config
    for part, activation in (("text_config", text.hidden_act), ("vision_config", vision.hidden_act)):
        if activation != GELU:
            raise CheckpointError(f"{path}: {part}.hidden_act is {activation!r}; mmtk's layers have {GELU!r}")
    return FolderConfig(
        heads=text.num_attention_heads,
        image_heads=vision.num_attention_heads,
        vision_eps=vision.layer_norm_eps,
        start_id=text.bos_token_id,
    )


def is_blip_folder(folder: Path) -> bool:
    """Whether a folder has a config.json of BLIP."""
    try:
        return folder.is_dir() and _is_blip(read_json(folder / CONFIG))
    except CheckpointError:
        return False


def _is_blip(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "blip"
