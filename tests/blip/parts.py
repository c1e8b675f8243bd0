"""Small models and batches for BLIP's tests."""

from __future__ import annotations

import torch
from mmtk_blip.heads.itc import ItcHead
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.heads.lm import LmHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import CrossEntropy, LabelSmoothing, SoftContrastive
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import Sharing, TextTransformer
from mmtk_blip.tokenizer import WordPiece
from torch import Tensor

from mmtk.engine.learner import Learner
from mmtk.types import Batch, Negatives, StepState

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
    "in",
    "near",
    "with",
    "and",
    "of",
    "picture",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", "##ly"]
TEXTS = ("a red cat", "the big blue dogs on a green car", "owl", "a small house near the tree and a dog")


def fixed_negatives(image_for_text: Tensor, text_for_image: Tensor):
    """A sampler that always answers the same."""

    def draw(
        text_to_image: Tensor, image_to_text: Tensor, matching: Tensor, generator: torch.Generator
    ) -> Negatives:
        assert isinstance(generator, torch.Generator)
        assert text_to_image.shape == image_to_text.shape == matching.shape
        assert matching.dtype == torch.bool
        assert matching.diagonal().all()
        assert not text_to_image.requires_grad
        return Negatives(image_for_text, text_for_image)

    return draw


def next_in_batch(count: int):
    """A sampler that answers with the next row."""
    following = (torch.arange(count) + 1) % count
    return fixed_negatives(following, following)


def tokenizer(max_length: int = 30) -> WordPiece:
    return WordPiece(VOCABULARY, max_length=max_length)


def tiny_transformer(
    sharing: Sharing = "all_but_sa", dropout: float = 0.0, depth: int = 2
) -> TextTransformer:
    transformer = TextTransformer(
        vocab_size=tokenizer().vocab_size,
        image_width=24,
        width=16,
        depth=depth,
        heads=2,
        hidden_width=32,
        max_positions=40,
        dropout=dropout,
        sharing=sharing,
    )
    return spread_weights(transformer)


def spread_weights(module: torch.nn.Module) -> torch.nn.Module:
    """Make weights large enough that attention isn't uniform and differences show."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return module


def tiny_learner(
    sharing: Sharing = "all_but_sa",
    dropout: float = 0.0,
    seed: int = 0,
    same_text_matches: bool = False,
    **heads_config,
) -> Learner:
    torch.manual_seed(seed)
    model = Med(
        image_encoder=spread_weights(timm_vit(image_size=32, patch_size=16, width=24, depth=1, heads=2)),
        text_transformer=tiny_transformer(sharing, dropout),
        tokenizer=tokenizer(),
        embed_dim=8,
        same_text_matches=same_text_matches,
    )
    heads = {
        "itc": ItcHead(loss=SoftContrastive()),
        "itm": ItmHead(text_width=16, loss=CrossEntropy(), negatives=next_in_batch(len(TEXTS))),
        "lm": spread_weights(
            LmHead(
                text_width=16, vocab_size=model.tokenizer.vocab_size, loss=LabelSmoothing(), **heads_config
            )
        ),
    }
    return Learner(model, heads)


def batch(texts: tuple[str, ...] = TEXTS, image_ids: list[int] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(len(texts), 3, 32, 32, generator=generator)
    ids = torch.arange(len(texts)) if image_ids is None else torch.tensor(image_ids)
    return Batch(images, texts, ids, tuple(f"sample{index}" for index in range(len(texts))))


def state(epoch: float = 2.0) -> StepState:
    return StepState(step=7, epoch=epoch, total_steps=100, seed=0)
