"""The text layers read texts alone, the fusion layers read images; padding matters to neither."""

from __future__ import annotations

import torch
from torch import Tensor

from .parts import TEXTS, tiny_bert, tokenizer


def embeds(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, 5, 24, generator=torch.Generator().manual_seed(seed))


def fused(texts: tuple[str, ...], images: Tensor) -> Tensor:
    torch.manual_seed(0)
    bert = tiny_bert().eval()
    ids, mask = tokenizer()(texts)
    with torch.no_grad():
        return bert.fuse(bert.encode(ids, mask), mask, bert.image_keys_values(images))


def test_padding_changes_nothing() -> None:
    images = embeds(len(TEXTS))
    together = fused(TEXTS, images)
    for row, text in enumerate(TEXTS):
        alone = fused((text,), images[row : row + 1])[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, rtol=1e-5, atol=2e-5)
        assert not together[row, len(alone) :].any()


def test_fusion_sees_the_image_and_only_its_own() -> None:
    images = embeds(2)
    other = torch.cat((images[:1], embeds(1, seed=1)))
    before, after = fused(TEXTS[:2], images), fused(TEXTS[:2], other)
    assert torch.equal(before[0], after[0])
    assert (before[1, 0] - after[1, 0]).norm() > 1e-2


def test_one_image_serves_consecutive_texts() -> None:
    images = embeds(2)
    repeated = images.repeat_interleave(2, 0)
    torch.testing.assert_close(fused(TEXTS, images), fused(TEXTS, repeated), rtol=1e-5, atol=2e-5)


def test_only_fusion_layers_read_the_image() -> None:
    bert = tiny_bert()
    ids, mask = tokenizer()(TEXTS)
    bert.encode(ids, mask).sum().backward()
    trained = {name.split(".")[0] for name, p in bert.named_parameters() if p.grad is not None}
    assert trained == {"embeddings", "self_attention", "feed_forward"}
    assert bert.self_attention[0].query.weight.grad is not None
    assert bert.self_attention[1].query.weight.grad is None
