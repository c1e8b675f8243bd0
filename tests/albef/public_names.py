"""The names of the public ALBEF pre-training checkpoint, translated to this project's."""

from __future__ import annotations

import re

TEXT_DEPTH = 2
RULES = (
    (r"^temp$", "temperature"),
    (r"^visual_encoder\.", "image_encoder.vit."),
    (r"^vision_proj\.", "image_projection."),
    (r"^text_proj\.", "text_projection."),
    (r"^text_encoder\.cls\.predictions\.transform\.LayerNorm", "prediction.norm"),
    (r"^text_encoder\.cls\.predictions\.transform\.dense", "prediction.dense"),
    (r"^text_encoder\.cls\.predictions\.bias", "prediction.bias"),
    (r"^text_encoder\.bert\.", "text_transformer."),
    (r"embeddings\.word_embeddings", "embeddings.word"),
    (r"embeddings\.position_embeddings", "embeddings.position"),
    (r"embeddings\.LayerNorm", "embeddings.norm"),
    (r"encoder\.layer\.(\d+)\.attention\.self", r"self_attention.\1"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense", r"self_attention.\1.output"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm", r"self_attention.\1.norm"),
    (r"encoder\.layer\.(\d+)\.crossattention\.self", r"cross_attention.\1"),
    (r"encoder\.layer\.(\d+)\.crossattention\.output\.dense", r"cross_attention.\1.output"),
    (r"encoder\.layer\.(\d+)\.crossattention\.output\.LayerNorm", r"cross_attention.\1.norm"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense", r"feed_forward.\1.expand"),
    (r"encoder\.layer\.(\d+)\.output\.dense", r"feed_forward.\1.contract"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm", r"feed_forward.\1.norm"),
)


def learner_name(public: str) -> str:
    """Name in a learner's state dict of the public tensor ``public``."""
    if public.startswith("itm_head."):
        return public.replace("itm_head.", "heads.itm.classifier.")
    name = public
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    # Public layers count through; cross-attention is only in those above the text layers.
    name = re.sub(r"cross_attention\.(\d+)", lambda m: f"cross_attention.{int(m[1]) - TEXT_DEPTH}", name)
    return f"model.{name}"
