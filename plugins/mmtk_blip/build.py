"""Wiring: builds the parts that a component's slots name and hands them to its constructor."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from mmtk.api import Blueprint, Loss, Model, NegativeSampler, RecipeError, Tokenizer
from mmtk_blip.heads.itc import ItcHead
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.heads.lm import LmHead
from mmtk_blip.heads.vqa import VqaHead
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import Sharing, Source, TextTransformer


def med_bert(
    *,
    width: int,
    depth: int,
    heads: int,
    hidden_width: int,
    max_positions: int,
    dropout: float,
    init_std: float,
    sharing: Sharing,
    decoder_reads: Source,
    vocab_size: int,
    image_width: int,
) -> TextTransformer:
    """Build the text transformer for a tokenizer's vocabulary and an image encoder's width."""
    return TextTransformer(
        vocab_size=vocab_size,
        image_width=image_width,
        width=width,
        depth=depth,
        heads=heads,
        hidden_width=hidden_width,
        max_positions=max_positions,
        dropout=dropout,
        init_std=init_std,
        sharing=sharing,
        decoder_reads=decoder_reads,
    )


def med(
    *,
    image_encoder: Blueprint[nn.Module],
    text_encoder: Blueprint[TextTransformer],
    tokenizer: Blueprint[Tokenizer],
    embed_dim: int,
    temperature: float,
    learn_temperature: bool,
    same_text_matches: bool,
) -> Med:
    """Build MED from its slots. Raises RecipeError for a text encoder without MED's modes."""
    words = tokenizer.build()
    images = image_encoder.build()
    texts = text_encoder.build(vocab_size=words.vocab_size, image_width=images.width)
    if not hasattr(texts, "ground"):
        raise RecipeError(
            f"med needs a text encoder with its modes, such as med_bert, not {type(texts).__name__}"
        )
    return Med(
        image_encoder=images,
        text_transformer=texts,
        tokenizer=words,
        embed_dim=embed_dim,
        temperature=temperature,
        learn_temperature=learn_temperature,
        same_text_matches=same_text_matches,
    )


def itc(*, loss: Blueprint[Loss], alpha: float, ramp_epochs: float, weight: float, model: Model) -> ItcHead:  # noqa: ARG001
    """Build the ITC head, which has no parameters of its own."""
    return ItcHead(loss=loss.build(), alpha=alpha, ramp_epochs=ramp_epochs, weight=weight)


def itm(
    *,
    loss: Blueprint[Loss],
    negatives: Blueprint[NegativeSampler],
    negatives_from: Literal["rank", "all_ranks"],
    weight: float,
    model: Any,
) -> ItmHead:
    """Build the ITM head for the width of ``model``'s text.

    Raises RecipeError for a model that can't ``ground`` texts in images.
    """
    if not hasattr(model, "ground"):
        raise RecipeError("the head itm needs a model that reads texts with their images, such as med")
    return ItmHead(
        text_width=model.text_width,
        loss=loss.build(),
        negatives=negatives.build(),
        negatives_from=negatives_from,
        weight=weight,
    )


def lm(*, loss: Blueprint[Loss], prompt: str, weight: float, model: Any) -> LmHead:
    """Build the LM head for ``model``'s vocabulary. Raises RecipeError for a model without a decoder."""
    if not hasattr(getattr(model, "text_transformer", None), "decode"):
        raise RecipeError("the head lm needs a text encoder with a decoder, such as med's med_bert")
    if model.text_transformer.decoder_reads != "image":
        raise RecipeError(
            "the head lm needs a decoder that reads the image; this one has `decoder_reads: question`"
        )
    prompt_ids, _ = model.tokenizer([prompt], end=False)
    return LmHead(
        text_width=model.text_width,
        vocab_size=model.tokenizer.vocab_size,
        loss=loss.build(),
        prompt_ids=prompt_ids[0, 1:].tolist(),
        weight=weight,
    )


def vqa(*, loss: Blueprint[Loss], weight: float, model: Any) -> VqaHead:
    """Build the question-answering head. Raises RecipeError when the decoder doesn't read questions."""
    if getattr(getattr(model, "text_transformer", None), "decoder_reads", None) != "question":
        raise RecipeError("vqa needs a text encoder with `decoder_reads: question` and `sharing: none`")
    return VqaHead(
        text_width=model.text_width,
        vocab_size=model.tokenizer.vocab_size,
        loss=loss.build(),
        weight=weight,
    )
