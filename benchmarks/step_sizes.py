"""How large the models and batches of the step benchmark are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """ViT-B/16 and BERT-base as BLIP pre-trains them, eight pairs a step.

    Attributes:
        image_size: edge of a picture in pixels.
        patch_size: edge of a patch in pixels.
        width: of image and text tokens; feed-forward blocks are four times as wide.
        depth: layers of either transformer.
        heads: attention heads of either transformer.
        embed_dim: width of the space that ITC compares in.
        vocabulary: tokens, special ones included.
        queue: pairs in the momentum encoder's queue, all of them filled.
        batch: pairs in a step.
        words: least and greatest number of words in a text; each is one token.
        padded: tokens that the reference pads texts to.
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    embed_dim: int = 256
    vocabulary: int = 30524
    queue: int = 57600
    batch: int = 8
    words: tuple[int, int] = (7, 13)
    padded: int = 30
    max_positions: int = 512


FULL = Sizes()
TINY = Sizes(
    image_size=32, width=16, depth=2, heads=2, embed_dim=8, vocabulary=60, queue=12, batch=4, max_positions=40
)
SIZES = {"full": FULL, "tiny": TINY}
