"""The text transformer against plain facts about attention, and against transformers' BERT and BLIP."""

from __future__ import annotations

import pytest
import torch
from mmtk_blip.text_transformer import TextTransformer, first_token_replaced
from mmtk_blip.weights.names import BERT
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BlipTextConfig
from transformers.models.blip.modeling_blip_text import BlipTextModel

from .parts import spread_weights, tiny_transformer

VOCAB, WIDTH, IMAGE_WIDTH = 50, 24, 20


@pytest.fixture
def transformer() -> TextTransformer:
    torch.manual_seed(0)
    return tiny_transformer("none").eval()


@pytest.fixture
def ids() -> Tensor:
    return torch.tensor([[2, 5, 9, 11, 7, 3], [2, 4, 6, 3, 0, 0], [2, 8, 12, 10, 3, 0]])


@pytest.fixture
def mask(ids: Tensor) -> Tensor:
    return ids != 0


@pytest.fixture
def embeds() -> Tensor:
    return torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(3))


def test_padding_changes_nothing(
    transformer: TextTransformer, ids: Tensor, mask: Tensor, embeds: Tensor
) -> None:
    image = transformer.image_keys_values(embeds, "encoder")
    decoder_image = transformer.image_keys_values(embeds, "decoder")
    for row, length in enumerate(mask.sum(1).tolist()):
        own_image = [layer.select(torch.tensor([row])) for layer in image]
        own_decoder_image = [layer.select(torch.tensor([row])) for layer in decoder_image]
        alone, alone_mask = ids[row : row + 1, :length], mask[row : row + 1, :length]
        for padded, single in (
            (transformer.encode(ids, mask), transformer.encode(alone, alone_mask)),
            (transformer.ground(ids, mask, image), transformer.ground(alone, alone_mask, own_image)),
            (
                transformer.decode(ids, decoder_image),
                transformer.decode(alone, own_decoder_image),
            ),
        ):
            torch.testing.assert_close(padded[row, :length], single[0], rtol=1e-4, atol=1e-5)


def test_decoder_sees_no_later_token(transformer: TextTransformer, ids: Tensor, embeds: Tensor) -> None:
    image = transformer.image_keys_values(embeds, "decoder")
    changed = ids.clone()
    changed[:, 3] = 13
    before, after = (transformer.decode(version, image) for version in (ids, changed))
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (before[:, 3:] - after[:, 3:]).abs().amin(2).gt(0).all()


def test_encoder_sees_every_token(transformer: TextTransformer, ids: Tensor, mask: Tensor) -> None:
    changed = ids.clone()
    changed[0, 4] = 13
    before, after = transformer.encode(ids, mask), transformer.encode(changed, mask)
    assert not torch.allclose(before[0, 0], after[0, 0], atol=1e-3)
    torch.testing.assert_close(before[1:], after[1:])


def test_one_image_serves_several_texts(
    transformer: TextTransformer, ids: Tensor, mask: Tensor, embeds: Tensor
) -> None:
    texts, text_mask = ids.repeat(2, 1), mask.repeat(2, 1)
    images = embeds[:2]
    for side in ("encoder", "decoder"):
        shared = transformer.image_keys_values(images, side)
        copied = transformer.image_keys_values(images.repeat_interleave(3, 0), side)
        if side == "encoder":
            found, expected = (transformer.ground(texts, text_mask, image) for image in (shared, copied))
        else:
            found, expected = (transformer.decode(texts, image) for image in (shared, copied))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only(ids: Tensor, mask: Tensor) -> None:
    transformer = tiny_transformer(dropout=0.5)
    assert not torch.equal(transformer.encode(ids, mask), transformer.encode(ids, mask))
    transformer.eval()
    assert torch.equal(transformer.encode(ids, mask), transformer.encode(ids, mask))


def test_initial_weights_are_berts() -> None:
    torch.manual_seed(0)
    transformer = TextTransformer(
        vocab_size=500, image_width=32, width=64, depth=2, heads=4, hidden_width=128
    )
    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-12
            assert module.weight.eq(1).all()


def test_first_token_replaced_leaves_its_argument(ids: Tensor) -> None:
    original = ids.clone()
    replaced = first_token_replaced(ids, 17)
    assert torch.equal(ids, original)
    assert replaced[:, 0].tolist() == [17, 17, 17]
    assert torch.equal(replaced[:, 1:], ids[:, 1:])


def _sizes() -> dict[str, int | float]:
    return {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 36,
        "max_position_embeddings": 16,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }


def _ours(theirs: nn.Module) -> TextTransformer:
    """The transformer with the weights of one of transformers' text models."""
    ours = TextTransformer(
        vocab_size=VOCAB,
        image_width=IMAGE_WIDTH,
        width=WIDTH,
        depth=3,
        heads=4,
        hidden_width=36,
        max_positions=16,
        sharing="all",
    )
    found = {BERT.ours(name): tensor for name, tensor in theirs.state_dict().items()}
    known = {name: tensor for name, tensor in found.items() if name in ours.state_dict()}
    assert {name for name in ours.state_dict() if name not in known} <= {
        name for name in ours.state_dict() if name.startswith("cross_attention")
    }
    ours.load_state_dict(known, strict=False)
    return ours.eval()


def test_text_mode_equals_transformers_bert() -> None:
    torch.manual_seed(0)
    theirs = spread_weights(
        BertModel(BertConfig(**_sizes(), type_vocab_size=1), add_pooling_layer=False)
    ).eval()
    with torch.no_grad():
        theirs.embeddings.token_type_embeddings.weight.zero_()
    ids = torch.randint(1, VOCAB, (3, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4], [6]])
    found = _ours(theirs).encode(ids, mask)
    expected = theirs(ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["text", "ground", "decode"])
def test_each_mode_equals_transformers_blip(mode: str) -> None:
    torch.manual_seed(1)
    config = BlipTextConfig(
        **_sizes(),
        encoder_hidden_size=IMAGE_WIDTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    theirs = spread_weights(BlipTextModel(config, add_pooling_layer=False)).eval()
    ours = _ours(theirs)
    ids = torch.randint(1, VOCAB, (3, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4], [6]])
    embeds = torch.randn(3, 7, IMAGE_WIDTH)
    image = {} if mode == "text" else {"encoder_hidden_states": embeds}
    expected = theirs(ids, attention_mask=mask.long(), is_decoder=mode == "decode", **image).last_hidden_state
    found = {
        "text": lambda: ours.encode(ids, mask),
        "ground": lambda: ours.ground(ids, mask, ours.image_keys_values(embeds, "encoder")),
        "decode": lambda: ours.decode(ids, ours.image_keys_values(embeds, "decoder")),
    }[mode]()
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-4, atol=1e-5)
