"""Wiring: builds the parts that a component's slots name and hands them to its constructor."""

from __future__ import annotations

from torch import nn

from mmtk.api import Blueprint, Loss, Model, RecipeError, Tokenizer
from mmtk_albef.mlm import MlmHead
from mmtk_albef.model import Albef
from mmtk_albef.text_transformer import AlbefBert


def albef(
    *,
    image_encoder: Blueprint[nn.Module],
    text_encoder: Blueprint[AlbefBert],
    tokenizer: Blueprint[Tokenizer],
    embed_dim: int,
    temperature: float,
    learn_temperature: bool,
    same_text_matches: bool,
) -> Albef:
    """Build ALBEF from its slots. Raises RecipeError for a text encoder without fusion layers."""
    words = tokenizer.build()
    images = image_encoder.build()
    texts = text_encoder.build(vocab_size=words.vocab_size, image_width=images.width)
    if not hasattr(texts, "fuse"):
        raise RecipeError("the model albef needs a text encoder with fusion layers: use albef_bert")
    return Albef(
        image_encoder=images,
        text_transformer=texts,
        tokenizer=words,
        embed_dim=embed_dim,
        temperature=temperature,
        learn_temperature=learn_temperature,
        same_text_matches=same_text_matches,
    )


def mlm(
    *,
    loss: Blueprint[Loss],
    probability: float,
    alpha: float,
    ramp_epochs: float,
    weight: float,
    model: Model,
) -> MlmHead:
    """Build the MLM head.

    Raises RecipeError for a model that predicts no masked words and for a vocabulary without [MASK].
    """
    if not hasattr(model.feature_towers(), "word_logits"):
        raise RecipeError("the head mlm needs a model that predicts masked words: use albef")
    mask_id = model.tokenizer.mask_id
    if mask_id is None:
        raise RecipeError("the head mlm needs a vocabulary with [MASK], and the tokenizer's has none")
    return MlmHead(
        loss=loss.build(),
        mask_id=mask_id,
        probability=probability,
        alpha=alpha,
        ramp_epochs=ramp_epochs,
        weight=weight,
    )
