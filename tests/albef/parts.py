"""Small models and batches for ALBEF's tests."""

from __future__ import annotations

import torch
from mmtk_albef.mlm import MlmHead
from mmtk_albef.model import Albef
from mmtk_albef.text_transformer import AlbefBert
from mmtk_blip.heads.itc import ItcHead
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import CrossEntropy, SoftContrastive
from mmtk_blip.tokenizer import WordPiece
from mmtk_momentum.negatives import Hardest

from mmtk.engine.learner import Learner
from mmtk.types import Batch, StepState

WORDS = [
    "a",
    "the",
    "red",
    "blue",
    "green",
    "small",
    "big",
    "cat",
    "dog",
    "owl",
    "car",
    "house",
    "tree",
    "on",
    "near",
    "and",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
TEXTS = ("a red cat", "the big blue dogs on a green car", "owl", "a small house near the tree and a dog")


def tokenizer() -> WordPiece:
    return WordPiece(VOCABULARY, max_length=16)


def tiny_bert(dropout: float = 0.0) -> AlbefBert:
    return AlbefBert(
        vocab_size=tokenizer().vocab_size,
        image_width=24,
        width=16,
        text_depth=1,
        fusion_depth=2,
        heads=2,
        hidden_width=32,
        max_positions=16,
        dropout=dropout,
        init_std=0.3,
    )


def tiny_learner(probability: float = 0.3, dropout: float = 0.0) -> Learner:
    """ALBEF with its three heads, and weights so large that differences show."""
    torch.manual_seed(0)
    words = tokenizer()
    model = Albef(
        image_encoder=timm_vit(image_size=32, patch_size=16, width=24, depth=1, heads=2),
        text_transformer=tiny_bert(dropout),
        tokenizer=words,
        embed_dim=8,
    )
    assert words.mask_id is not None
    heads: dict[str, torch.nn.Module] = {
        "itc": ItcHead(loss=SoftContrastive()),
        "itm": ItmHead(text_width=16, loss=CrossEntropy(), negatives=Hardest()),
        "mlm": MlmHead(loss=SoftContrastive(), mask_id=words.mask_id, probability=probability),
    }
    return Learner(model, heads)


def batch(texts: tuple[str, ...] = TEXTS) -> Batch:
    images = torch.randn(len(texts), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return Batch(images, texts, torch.arange(len(texts)), tuple(map(str, range(len(texts)))))


def state(epoch: float = 2.0, step: int = 7) -> StepState:
    return StepState(step=step, epoch=epoch, total_steps=100, seed=0)
