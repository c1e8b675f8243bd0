"""Decoding step by step against running the whole decoder."""

from __future__ import annotations

import gc

import pytest
import torch
from mmtk_blip.attention import KeysValues
from mmtk_blip.layers import WordPrediction
from mmtk_blip.prepacked import prepacked
from mmtk_blip.step_decoder import CachedDecoder, _made, step_weights
from mmtk_blip.text_transformer import Sharing, TextTransformer
from torch import Tensor

from .parts import spread_weights, tiny_transformer

IDS = torch.tensor([[2, 5, 9, 11, 7, 3], [2, 4, 6, 13, 8, 21], [2, 8, 12, 10, 3, 14]])
WIDTH, IMAGE_WIDTH = 16, 24


@pytest.fixture(params=["all", "none"])
def transformer(request: pytest.FixtureRequest) -> TextTransformer:
    torch.manual_seed(0)
    sharing: Sharing = request.param
    return tiny_transformer(sharing, dropout=0.5).eval()


@pytest.fixture
def prediction(transformer: TextTransformer) -> WordPrediction:
    torch.manual_seed(1)
    return spread_weights(WordPrediction(WIDTH, len(transformer.output_embeddings))).eval()


@pytest.fixture
def image(transformer: TextTransformer) -> list[KeysValues]:
    torch.manual_seed(2)
    with torch.no_grad():
        return transformer.image_keys_values(torch.randn(3, 5, IMAGE_WIDTH), "decoder")


def whole(
    transformer: TextTransformer,
    prediction: WordPrediction,
    ids: Tensor,
    image: list[KeysValues],
    image_mask: Tensor | None = None,
) -> Tensor:
    """Logits ``(R, L, V)`` without a cache."""
    states = transformer.decode(ids, image, image_mask=image_mask)
    return prediction(states, transformer.output_embeddings).detach()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_every_step_gives_the_whole_decoders_logits(
    transformer: TextTransformer, prediction: WordPrediction, image: list[KeysValues]
) -> None:
    expected = whole(transformer, prediction, IDS, image)
    decoder = CachedDecoder(step_weights(transformer, prediction), image, max_length=6)
    close(decoder.advance(IDS[:, :3]), expected[:, 2])
    for place in range(3, 6):
        close(decoder.advance(IDS[:, place : place + 1]), expected[:, place])


@torch.no_grad()
def test_selected_rows_and_images_go_on(
    transformer: TextTransformer, prediction: WordPrediction, image: list[KeysValues]
) -> None:
    """From a row an image to three, then two of the images leave and a beam is taken twice."""
    mask = torch.tensor([[True] * 5, [True, False, True, True, False], [True, True, False, False, False]])
    decoder = CachedDecoder(step_weights(transformer, prediction), image, 6, mask)
    decoder.advance(IDS[:, :2])
    decoder.select(torch.arange(3).repeat_interleave(3))
    new = torch.tensor([4, 5, 6, 7, 8, 9, 10, 11, 12])
    decoder.advance(new[:, None])
    decoder.select(torch.tensor([5, 3, 3]), torch.tensor([1]))
    last = torch.tensor([13, 14, 15])
    ids = torch.cat((IDS[1:2, :2].expand(3, -1), new[[5, 3, 3], None], last[:, None]), dim=1)
    alone = [layer.select(torch.tensor([1])) for layer in image]
    expected = whole(transformer, prediction, ids, alone, mask[1:2])
    close(decoder.advance(last[:, None]), expected[:, 3])


@torch.no_grad()
@pytest.mark.parametrize("change", ["in place", "data", "another tensor"])
def test_changed_weights_are_prepacked_anew(
    transformer: TextTransformer, prediction: WordPrediction, image: list[KeysValues], change: str
) -> None:
    before = step_weights(transformer, prediction)
    assert step_weights(transformer, prediction) is before
    bias = transformer.feed_forward[1].contract.bias
    if change == "in place":
        bias[-1] += 1
    elif change == "data":
        bias.data.mul_(2).add_(1)
    else:
        transformer.feed_forward[1].contract.bias = torch.nn.Parameter(bias * 3 + 1)
    after = step_weights(transformer, prediction)
    assert after is not before
    found = CachedDecoder(after, image, 6).advance(IDS)
    close(found, whole(transformer, prediction, IDS, image)[:, -1])


def test_prepacked_weights_go_with_their_head(transformer: TextTransformer) -> None:
    prediction = WordPrediction(WIDTH, len(transformer.output_embeddings))
    count = len(_made)
    step_weights(transformer, prediction)
    assert len(_made) == count + 1
    del prediction
    gc.collect()
    assert len(_made) == count


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prepacked_is_linear(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, states = (
        torch.randn(shape, generator=generator, dtype=dtype) for shape in ((7, 5), (7,), (2, 3, 5))
    )
    torch.testing.assert_close(prepacked(weight, bias)(states), states @ weight.T + bias)
