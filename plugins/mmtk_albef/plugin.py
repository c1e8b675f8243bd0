"""ALBEF as a plugin: its model, its text encoder and masked language modelling. This module imports no torch.

Image encoder, tokenizer, the heads ITC and ITM, losses, momentum encoder and negatives are other plugins'.
"""

from __future__ import annotations

from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    """ALBEF's components."""
    return [
        Component(
            "text_encoder",
            "albef_bert",
            "mmtk_albef.text_transformer:AlbefBert",
            "mmtk_albef.configs:AlbefBertConfig",
            "BERT layers, the upper ones with cross-attention to the image",
        ),
        Component(
            "model",
            "albef",
            "mmtk_albef.build:albef",
            "mmtk_albef.configs:AlbefConfig",
            "ALBEF: align by contrast, then fuse",
        ),
        Component(
            "head",
            "mlm",
            "mmtk_albef.build:mlm",
            "mmtk_albef.configs:MlmConfig",
            "masked language modelling with momentum soft targets",
        ),
        Component(
            "text_transform",
            "albef_caption",
            "mmtk_albef.caption:AlbefCaption",
            "mmtk_albef.configs:AlbefCaptionConfig",
            "ALBEF's caption cleaning",
        ),
    ]
