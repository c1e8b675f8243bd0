"""BLIP's captioner in transformers and here, with the same random weights.

transformers' own defaults are not BLIP's (8 text heads, a vision epsilon of 1e-5, weights of almost zero), so
every size that matters is given.
"""

from __future__ import annotations

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
from mmtk_blip.weights.hf import public
from mmtk_blip.weights.public import Heads, weights_for
from torch import Tensor, nn
from transformers import BlipConfig, BlipForConditionalGeneration

from mmtk.engine.learner import Learner

EMBED_DIM = 16
Module = TypeVar("Module", bound=nn.Module)
SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
PROMPT = {104: "a", 105: "picture", 106: "of"}


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
    """Copy all weights of a BLIP model of transformers'; what it has none for stays as it is."""
    tensors = public(source.state_dict()).tensors
    found = weights_for(tensors, target.model.text_transformer.sharing, Heads.of(target))
    assert not found.left_over, f"no place for {found.left_over}"
    unknown = target.load_state_dict(dict(found.tensors), strict=False).unexpected_keys
    assert not unknown, f"no place for {unknown}"


def written(rows: Tensor, end_id: int, start: int) -> list[list[int]]:
    """Token ids ``(B, L)`` that transformers wrote, up to each row's first end behind the prompt."""
    found = []
    for row in rows.tolist():
        end = row.index(end_id, start) if end_id in row[start:] else len(row)
        found.append(row[:end])
    return found
