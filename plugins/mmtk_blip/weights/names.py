"""How the parts of BLIP are called in public checkpoints, in transformers and here, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from torch import Tensor

_ATTENTION = (("attention", "self_attention"), ("crossattention", "cross_attention"))


class Names:
    """Pairs of name beginnings, theirs and ours, ``*`` standing for a layer's number.

    A beginning that doesn't end in a dot is a whole name. Of several that fit, the first counts.
    """

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def ours(self, theirs: str) -> str | None:
        """Our name; None for a name that no pair fits."""
        return _translated(theirs, self._pairs)

    def theirs(self, ours: str) -> str | None:
        """Their name; None for a name that no pair fits."""
        return _translated(ours, ((ours, theirs) for theirs, ours in self._pairs))


def _translated(name: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    for source, target in pairs:
        match = _pattern(source).match(name)
        if match is not None:
            return target.replace("*", match[1] if match.groups() else "") + name[match.end() :]
    return None


@cache
def _pattern(source: str) -> re.Pattern[str]:
    numbered = re.escape(source).replace(r"\*", r"(\d+)")
    return re.compile(numbered if source.endswith(".") else numbered + r"\Z")


BERT = Names(
    ("embeddings.word_embeddings.", "embeddings.word."),
    ("embeddings.position_embeddings.", "embeddings.position."),
    ("embeddings.LayerNorm.", "embeddings.norm."),
    *(
        (f"encoder.layer.*.{theirs}.self.{name}.", f"{ours}.*.{name}.")
        for theirs, ours in _ATTENTION
        for name in ("query", "key", "value")
    ),
    *((f"encoder.layer.*.{theirs}.output.dense.", f"{ours}.*.output.") for theirs, ours in _ATTENTION),
    *((f"encoder.layer.*.{theirs}.output.LayerNorm.", f"{ours}.*.norm.") for theirs, ours in _ATTENTION),
    ("encoder.layer.*.intermediate.dense.", "feed_forward.*.expand."),
    ("encoder.layer.*.output.dense.", "feed_forward.*.contract."),
    ("encoder.layer.*.output.LayerNorm.", "feed_forward.*.norm."),
)
"""Layers of BERT and the text transformer's parts (those of the encoder)."""

PREDICTION = Names(("transform.dense.", "dense."), ("transform.LayerNorm.", "norm."), ("bias", "bias"))
"""BERT's ``cls.predictions`` and the LM head's ``prediction``."""

TOWERS = Names(
    ("visual_encoder.", "image_encoder.vit."),
    ("vision_proj.", "image_projection."),
    ("text_proj.", "text_projection."),
    ("temp", "temperature"),
)
"""Public BLIP and MED, without the text transformer."""

VISION = Names(
    ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
    ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
    ("vision_model.embeddings.patch_embedding.", "visual_encoder.patch_embed.proj."),
    ("vision_model.encoder.layers.*.self_attn.qkv.", "visual_encoder.blocks.*.attn.qkv."),
    ("vision_model.encoder.layers.*.self_attn.projection.", "visual_encoder.blocks.*.attn.proj."),
    ("vision_model.encoder.layers.*.layer_norm1.", "visual_encoder.blocks.*.norm1."),
    ("vision_model.encoder.layers.*.layer_norm2.", "visual_encoder.blocks.*.norm2."),
    ("vision_model.encoder.layers.*.mlp.fc1.", "visual_encoder.blocks.*.mlp.fc1."),
    ("vision_model.encoder.layers.*.mlp.fc2.", "visual_encoder.blocks.*.mlp.fc2."),
    ("vision_model.post_layernorm.", "visual_encoder.norm."),
)
"""transformers' vision model and the public one, which is timm's. The other parts bear public names there."""

ENCODER, DECODER = "text_encoder.", "text_decoder.bert."
PREDICTIONS = "text_decoder.cls.predictions."


def beginning_with(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
