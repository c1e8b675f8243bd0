"""BLIP's captioner in transformers and here, with the same random weights.

transformers' own defaults are not BLIP's (8 text heads, a vision epsilon of 1e-5, weights of almost zero), so
every size that matters is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from mmtk_blip.heads.lm import LmHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import LabelSmoothing
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import Sharing, Source, TextTransformer
from mmtk_blip.tokenizer import WordPiece
from torch import Tensor, nn
from transformers import BlipConfig, BlipForConditionalGeneration

from mmtk.engine.learner import Learner

EMBED_DIM = 16
Module = TypeVar("Module", bound=nn.Module)
SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
PROMPT = {104: "a", 105: "picture", 106: "of"}

NAMES = (
    (r"^vision_model\.embeddings\.class_embedding", "model.image_encoder.vit.cls_token"),
    (r"^vision_model\.embeddings\.position_embedding", "model.image_encoder.vit.pos_embed"),
    (r"^vision_model\.embeddings\.patch_embedding", "model.image_encoder.vit.patch_embed.proj"),
    (r"^vision_model\.post_layernorm", "model.image_encoder.vit.norm"),
    (r"^vision_model\.encoder\.layers\.(\d+)\.", r"model.image_encoder.vit.blocks.\1."),
    (r"\.self_attn\.qkv", ".attn.qkv"),
    (r"\.self_attn\.projection", ".attn.proj"),
    (r"\.layer_norm([12])", r".norm\1"),
    (r"^text_decoder\.cls\.predictions\.transform\.LayerNorm", "heads.lm.prediction.norm"),
    (r"^text_decoder\.cls\.predictions\.transform\.dense", "heads.lm.prediction.dense"),
    (r"^text_decoder\.cls\.predictions\.bias", "heads.lm.prediction.bias"),
    (r"^(text_decoder\.bert|text_encoder)\.", "model.text_transformer."),
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
    (r"^vision_proj\.", "model.image_projection."),
    (r"^text_proj\.", "model.text_projection."),
    (r"^itm_head\.", "heads.itm.classifier."),
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a captioner; the defaults are BLIP's with ViT-B/16."""

    image_size: int = 384
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    vocab_size: int = 30524


def vocabulary(size: int) -> list[str]:
    """A vocabulary whose special tokens stand where BERT's do; ``size`` counts [DEC] and [ENC], its last."""
    named = SPECIAL | PROMPT
    return [named.get(index, f"word{index}") for index in range(size - 2)]


def transformers_config(sizes: Sizes) -> BlipConfig:
    shared = {
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.depth,
        "num_attention_heads": sizes.heads,
        "intermediate_size": 4 * sizes.width,
    }
    text = {
        "vocab_size": sizes.vocab_size,
        "encoder_hidden_size": sizes.width,
        "layer_norm_eps": 1e-12,
        "bos_token_id": sizes.vocab_size - 2,
        "sep_token_id": 102,
        "eos_token_id": 102,
        "pad_token_id": 0,
    }
    vision = {"image_size": sizes.image_size, "patch_size": sizes.patch_size, "layer_norm_eps": 1e-6}
    return BlipConfig(
        text_config=shared | text, vision_config=shared | vision, image_text_hidden_size=EMBED_DIM
    )


def transformers_captioner(sizes: Sizes, std: float, seed: int = 0) -> BlipForConditionalGeneration:
    """transformers' captioner; its weights differ from their first values by N(0, std²)."""
    torch.manual_seed(seed)
    return spread(BlipForConditionalGeneration(transformers_config(sizes)), std).eval()


def spread(module: Module, std: float) -> Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=std)
    return module


def learner(
    sizes: Sizes,
    heads: Mapping[str, nn.Module] | None = None,
    sharing: Sharing = "all",
    decoder_reads: Source = "image",
) -> Learner:
    """The same model here. A captioner's decoder shares everything with its encoder, as it has no encoder."""
    model = Med(
        image_encoder=timm_vit(
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            width=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
        ),
        text_transformer=TextTransformer(
            vocab_size=sizes.vocab_size,
            image_width=sizes.width,
            width=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
            hidden_width=4 * sizes.width,
            sharing=sharing,
            decoder_reads=decoder_reads,
        ),
        tokenizer=WordPiece(vocabulary(sizes.vocab_size)),
        embed_dim=EMBED_DIM,
    )
    lm = LmHead(text_width=sizes.width, vocab_size=sizes.vocab_size, loss=LabelSmoothing(0.1))
    return Learner(model, {"lm": lm} if heads is None else dict(heads))


def take_weights(target: Learner, source: nn.Module) -> None:
    """Copy the weights of a BLIP model of transformers' that ``target`` has a place for.

    Raises KeyError for a tensor without one, apart from transformers' second copies of tied tensors.
    """
    own = target.state_dict()
    with_encoder = any(public.startswith("text_encoder.") for public in source.state_dict())
    for public, tensor in source.state_dict().items():
        if ".predictions.decoder." in public:
            continue
        name = learner_name(public)
        if with_encoder and public.startswith("text_decoder.bert."):
            name = name.replace("text_transformer.", "text_transformer.decoder_")
        own[name].copy_(tensor)


def learner_name(public: str) -> str:
    """Name in a learner's state dict of the tensor that transformers calls ``public``."""
    for pattern, replacement in NAMES:
        public = re.sub(pattern, replacement, public)
    return public


def written(rows: Tensor, end_id: int, start: int) -> list[list[int]]:
    """Token ids ``(B, L)`` that transformers wrote, up to each row's first end behind the prompt."""
    found = []
    for row in rows.tolist():
        end = row.index(end_id, start) if end_id in row[start:] else len(row)
        found.append(row[:end])
    return found
