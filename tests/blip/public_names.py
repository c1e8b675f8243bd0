"""The names of the public BLIP pre-training checkpoint, translated to this project's."""

from __future__ import annotations

import re

TEXT = (
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
LEARNER = (
    (r"^temp$", "model.temperature"),
    (r"^visual_encoder\.", "model.image_encoder.vit."),
    (r"^vision_proj\.", "model.image_projection."),
    (r"^text_proj\.", "model.text_projection."),
    (r"^itm_head\.", "heads.itm.classifier."),
    (r"^text_decoder\.bert\.self_attention", "model.text_transformer.decoder_self_attention"),
    (r"^text_decoder\.cls\.predictions\.transform\.LayerNorm", "heads.lm.prediction.norm"),
    (r"^text_decoder\.cls\.predictions\.transform\.dense", "heads.lm.prediction.dense"),
    (r"^text_decoder\.cls\.predictions\.bias", "heads.lm.prediction.bias"),
    (r"^text_encoder\.", "model.text_transformer."),
)
TOWERS = (
    (r"^visual_encoder_m\.", "image_encoder.vit."),
    (r"^vision_proj_m\.", "image_projection."),
    (r"^text_proj_m\.", "text_projection."),
    (r"^text_encoder_m\.", "text_encoder."),
)


def learner_name(public: str) -> str:
    """Name in a learner's state dict of the online tensor ``public``."""
    return _translated(public, LEARNER)


def towers_name(public: str) -> str:
    """Name in the feature towers' state dict of the momentum tensor ``public``."""
    return _translated(public, TOWERS)


def is_momentum(public: str) -> bool:
    return "_m." in public


def _translated(public: str, rules: tuple[tuple[str, str], ...]) -> str:
    name = public
    for pattern, replacement in (*TEXT, *rules):
        name = re.sub(pattern, replacement, name)
    return name
