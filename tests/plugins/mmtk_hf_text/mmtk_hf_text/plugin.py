"""What mmtk finds behind the entry point. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component("text_encoder", "hf_text", "mmtk_hf_text.text:HfText", summary="transformers' encoders"),
        Component("tokenizer", "hf_tokenizer", "mmtk_hf_text.text:HfTokenizer", summary="and tokenizers"),
    ]
