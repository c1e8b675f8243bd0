"""BLIP as a plugin: MED, its encoders, heads, losses and tokenizer."""

from __future__ import annotations

from mmtk.api import Component, hookimpl
from mmtk_blip.weights.components import COMPONENTS as WEIGHTS


def _component(kind: str, name: str, factory: str, config: str, summary: str) -> Component:
    return Component(kind, name, f"mmtk_blip.{factory}", f"mmtk_blip.configs:{config}", summary)


_COMPONENTS = [
    _component(
        "image_encoder",
        "timm_vit",
        "image_encoder:timm_vit",
        "TimmVitConfig",
        "timm's vision transformer, by sizes or by name",
    ),
    _component(
        "image_encoder",
        "timm_features",
        "image_encoder:timm_features",
        "TimmFeaturesConfig",
        "a feature map of any timm network as tokens",
    ),
    _component(
        "text_encoder",
        "med_bert",
        "build:med_bert",
        "MedBertConfig",
        "BERT layers in three modes, with BLIP's sharing schemes",
    ),
    _component(
        "tokenizer",
        "wordpiece",
        "tokenizer:wordpiece",
        "WordpieceConfig",
        "BERT's WordPiece from a vocabulary file",
    ),
    _component("model", "med", "build:med", "MedConfig", "BLIP's multimodal mixture of encoder and decoder"),
    _component("head", "itc", "build:itc", "ItcConfig", "image-text contrast with momentum soft targets"),
    _component("head", "itm", "build:itm", "ItmConfig", "image-text matching with hard negatives"),
    _component("head", "lm", "build:lm", "LmConfig", "captioning: language modelling grounded in the image"),
    _component("head", "vqa", "build:vqa", "VqaConfig", "answering questions about the image"),
    _component(
        "text_transform",
        "vqa_pair",
        "questions:VqaPair",
        "VqaPairConfig",
        "cleaning of questions with their answers",
    ),
    _component(
        "loss",
        "soft_contrastive",
        "losses:SoftContrastive",
        "SoftContrastiveConfig",
        "cross-entropy against a distribution",
    ),
    _component(
        "loss",
        "cross_entropy",
        "losses:CrossEntropy",
        "CrossEntropyConfig",
        "cross-entropy against class indices",
    ),
    _component(
        "loss",
        "label_smoothing",
        "losses:LabelSmoothing",
        "LabelSmoothingConfig",
        "cross-entropy with label smoothing",
    ),
    _component(
        "stage",
        "train_wordpiece",
        "train_wordpiece:TrainWordpiece",
        "TrainWordpieceConfig",
        "train a WordPiece vocabulary on the texts of datasets",
    ),
]


@hookimpl
def mmtk_components() -> list[Component]:
    """BLIP's components."""
    return [*_COMPONENTS, *WEIGHTS]
