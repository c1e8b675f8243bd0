"""The files around the weights in a transformers folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import BlipConfig

from mmtk.api import CLIP_MEAN, CLIP_STD, Decoding, Learner
from mmtk_blip.attention import LAYER_NORM_EPS
from mmtk_blip.heads.vqa import ANSWER
from mmtk_blip.losses import LabelSmoothing
from mmtk_blip.med import Med
from mmtk_blip.tokenizer import DECODE, ENCODE, SPECIAL, VOCABULARY_FILE
from mmtk_blip.weights.hf import CONFIG, GELU
from mmtk_blip.weights.public import Heads

CLASSES = {
    "caption": "BlipForConditionalGeneration",
    "retrieval": "BlipForImageTextRetrieval",
    "vqa": "BlipForQuestionAnswering",
}
DECODING = {"caption": Decoding(), "vqa": ANSWER}
_BICUBIC = 3  # Pillow's number, which transformers stores
_ROLES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "bos": DECODE}


def write_configs(learner: Learner, task: str, folder: Path) -> None:
    """Write config.json and, for what writes texts, generation_config.json."""
    model: Med = learner.model
    smoothing = _label_smoothing(learner)
    config = BlipConfig(
        text_config=_text_config(model, smoothing),
        vision_config=_vision_config(model),
        projection_dim=model.image_projection.out_features,
        image_text_hidden_size=model.image_projection.out_features,
        logit_scale_init_value=-math.log(model.temperature.item()),
        label_smoothing=smoothing,
        architectures=[CLASSES[task]],
        dtype="float32",
    )
    config.to_json_file(folder / CONFIG, use_diff=False)
    if task in DECODING:
        decoding = DECODING[task]
        _write(
            folder / "generation_config.json",
            {
                "bos_token_id": model.tokenizer.decode_id,
                "eos_token_id": model.tokenizer.end_id,
                "pad_token_id": model.tokenizer.pad_id,
                "num_beams": decoding.beams,
                "min_length": decoding.min_length,
                "max_length": min(decoding.max_length, model.text_transformer.max_positions),
            },
        )


def write_processor(model: Med, folder: Path) -> None:
    """Write vocab.txt, tokenizer_config.json and preprocessor_config.json."""
    tokenizer: Any = model.tokenizer
    tokenizer.save(folder)
    assert (folder / VOCABULARY_FILE).is_file(), "the tokenizer saves its vocabulary"
    known = set(tokenizer.vocabulary)
    roles = {f"{role}_token": token if token in known else None for role, token in _ROLES.items()}
    ids = [(number, token) for number, token in enumerate(tokenizer.vocabulary) if token in SPECIAL]
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "processor_class": "BlipProcessor",
            "do_lower_case": tokenizer.lowercase,
            "model_max_length": tokenizer.max_length,
            "additional_special_tokens": [ENCODE],
            "added_tokens_decoder": {str(number): _special(token) for number, token in ids},
            **roles,
        },
    )
    size = _vision_config(model)["image_size"]
    _write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "BlipImageProcessor",
            "processor_class": "BlipProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"height": size, "width": size},
            "resample": _BICUBIC,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(CLIP_MEAN),
            "image_std": list(CLIP_STD),
        },
    )


def _text_config(model: Med, smoothing: float) -> dict[str, Any]:
    transformer, tokenizer = model.text_transformer, model.tokenizer
    attention: Any = transformer.self_attention[0]
    block: Any = transformer.feed_forward[0]
    dropout = transformer.embeddings.dropout.p
    return {
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": transformer.width,
        "encoder_hidden_size": model.image_width,
        "intermediate_size": block.expand.out_features,
        "projection_dim": model.image_projection.out_features,
        "num_hidden_layers": transformer.depth,
        "num_attention_heads": attention.heads,
        "max_position_embeddings": transformer.max_positions,
        "hidden_act": GELU,
        "layer_norm_eps": LAYER_NORM_EPS,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "bos_token_id": tokenizer.decode_id,
        "eos_token_id": tokenizer.end_id,
        "sep_token_id": tokenizer.end_id,
        "pad_token_id": tokenizer.pad_id,
        "label_smoothing": smoothing,
        "is_decoder": True,
        "tie_word_embeddings": True,
    }


def _vision_config(model: Med) -> dict[str, Any]:
    vit: Any = model.image_encoder.vit
    return {
        "hidden_size": vit.embed_dim,
        "intermediate_size": vit.blocks[0].mlp.fc1.out_features,
        "projection_dim": model.image_projection.out_features,
        "num_hidden_layers": len(vit.blocks),
        "num_attention_heads": vit.blocks[0].attn.num_heads,
        "image_size": vit.patch_embed.img_size[0],
        "patch_size": vit.patch_embed.patch_size[0],
        "hidden_act": GELU,
        "layer_norm_eps": vit.norm.eps,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
    }


def _label_smoothing(learner: Learner) -> float:
    losses = [learner.heads[name].loss for name in Heads.of(learner).predict_words]
    return next((loss.smoothing for loss in losses if isinstance(loss, LabelSmoothing)), 0.0)


def _special(token: str) -> dict[str, Any]:
    return {
        "content": token,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
