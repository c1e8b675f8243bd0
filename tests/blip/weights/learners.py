"""Small learners of any size, and the way out and in again."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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

from mmtk.engine.checkpoint import load_learner
from mmtk.engine.foreign import Imported, import_learner
from mmtk.engine.learner import Learner
from mmtk.plugins import load_plugins
from mmtk.registry import Registry
from mmtk.types import ExportSource
from tests.blip.parts import VOCABULARY, next_in_batch, spread_weights

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *VOCABULARY[4:]]
ALL_HEADS = ("itc", "itm", "lm")


@dataclass(frozen=True)
class Sizes:
    """Sizes of a learner; heads are numbers of attention heads."""

    width: int = 16
    depth: int = 2
    heads: int = 2
    hidden_width: int = 32
    max_positions: int = 40
    image_width: int = 24
    image_depth: int = 1
    image_heads: int = 2
    patch_size: int = 16
    grid: int = 2
    embed_dim: int = 8

    @property
    def image_size(self) -> int:
        return self.patch_size * self.grid


def small_learner(
    sharing: Sharing = "all_but_sa",
    heads: tuple[str, ...] = ALL_HEADS,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> Learner:
    """A learner in evaluation mode with random weights, large enough that every tensor counts."""
    torch.manual_seed(seed)
    sizes = sizes or Sizes()
    words = WordPiece(VOCAB, max_length=min(30, sizes.max_positions))
    model = Med(
        image_encoder=timm_vit(
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            width=sizes.image_width,
            depth=sizes.image_depth,
            heads=sizes.image_heads,
        ),
        text_transformer=TextTransformer(
            vocab_size=words.vocab_size,
            image_width=sizes.image_width,
            width=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
            hidden_width=sizes.hidden_width,
            max_positions=sizes.max_positions,
            dropout=0.1,
            sharing=sharing,
        ),
        tokenizer=words,
        embed_dim=sizes.embed_dim,
        temperature=0.05,
    )
    made = {
        "itc": lambda: ItcHead(loss=SoftContrastive()),
        "itm": lambda: ItmHead(text_width=sizes.width, loss=CrossEntropy(), negatives=next_in_batch(4)),
        "lm": lambda: LmHead(text_width=sizes.width, vocab_size=words.vocab_size, loss=LabelSmoothing(0.2)),
    }
    learner = Learner(model, {name: made[name]() for name in heads})
    temperature = model.temperature.detach().clone()
    spread_weights(learner)
    with torch.no_grad():
        model.temperature.copy_(temperature)
    return learner.eval()


def source_of(learner: Learner, **more) -> ExportSource:
    return ExportSource(learner, {"use": "med"}, {name: {"use": name} for name in learner.heads}, **more)


@functools.cache
def registry() -> Registry:
    return load_plugins().registry


def vocab_file(folder: Path) -> Path:
    path = folder / "vocab.txt"
    path.write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    return path


def imported_again(source: Path, folder: Path, **options: object) -> tuple[Learner, Imported]:
    """What ``mmtk import`` makes of ``source``."""
    target = folder / "imported"
    texts = {name: str(value) for name, value in options.items()}
    done = import_learner(source, target, registry(), None, texts)
    return load_learner(target, registry()), done


def assert_equal_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert set(found) == set(expected)
    different = [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)]
    assert not different
