"""What other plugins may import of BLIP's: parts to build a model of. Components come through slots."""

from __future__ import annotations

from mmtk_blip.attention import CrossAttention, KeysValues, SelfAttention
from mmtk_blip.context import MedContext
from mmtk_blip.encodings import ImageEncoding, TextEncoding
from mmtk_blip.heads.itc import soften
from mmtk_blip.layers import INITIAL_STD, FeedForward, TextEmbeddings, WordPrediction, initialise_as_bert
from mmtk_blip.med import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, unit_features
from mmtk_blip.packing import Packing
from mmtk_blip.text_transformer import Side, TextEncoder

__all__ = [
    "HIGHEST_TEMPERATURE",
    "INITIAL_STD",
    "LOWEST_TEMPERATURE",
    "CrossAttention",
    "FeedForward",
    "ImageEncoding",
    "KeysValues",
    "MedContext",
    "Packing",
    "SelfAttention",
    "Side",
    "TextEmbeddings",
    "TextEncoder",
    "TextEncoding",
    "WordPrediction",
    "initialise_as_bert",
    "soften",
    "unit_features",
]
