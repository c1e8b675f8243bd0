"""What mmtk finds behind the entry point. This module imports no torch."""

from mmtk.api import Component, hookimpl

MMTK_API = ">=1.0,<2"


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component("text_encoder", "hf_text", "mmtk_hf_text.text:HfText", summary="transformers' encoders"),
        Component("tokenizer", "hf_tokenizer", "mmtk_hf_text.text:HfTokenizer", summary="and tokenizers"),
    ]
