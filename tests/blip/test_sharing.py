"""MED's three modes share exactly what the scheme says (BLIP table 3)."""

from __future__ import annotations

import pytest
import torch
from mmtk_blip.layers import WordPrediction
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import DECODERS_OWN, TextTransformer
from mmtk_blip.tokenizer import WordPiece
from torch import Tensor, nn

from mmtk.engine.initialise import take_over
from mmtk.engine.learner import Learner
from mmtk.types import ForeignWeights

from .parts import VOCABULARY, tiny_transformer

PARTS = ("embeddings", "self_attention", "cross_attention", "feed_forward")
MODES_OF_ENCODER_PART = {
    "embeddings": {"text", "ground"},
    "self_attention": {"text", "ground"},
    "cross_attention": {"ground"},
    "feed_forward": {"text", "ground"},
}
SCHEMES = ("all", "all_but_sa", "all_but_ca", "none")
# What the decoder shares with the encoder, spelt out from BLIP's table 3.
SHARED = {
    "all": set(PARTS),
    "all_but_sa": {"embeddings", "cross_attention", "feed_forward"},
    "all_but_ca": {"embeddings", "self_attention", "feed_forward"},
    "none": set(),
}


def _outputs(transformer: TextTransformer) -> dict[str, Tensor]:
    ids, mask = torch.tensor([[2, 5, 6, 7], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    embeds = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return {
            "text": transformer.encode(ids, mask),
            "ground": transformer.ground(ids, mask, transformer.image_keys_values(embeds, "encoder")),
            "decode": transformer.decode(ids, transformer.image_keys_values(embeds, "decoder")),
        }


@pytest.mark.parametrize("sharing", SCHEMES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_each_part_moves_exactly_its_modes(sharing: str, part: str, side: str) -> None:
    torch.manual_seed(0)
    transformer = tiny_transformer(sharing).eval()
    module = getattr(transformer, part if side == "encoder" else f"decoder_{part}")
    if side == "decoder" and part in SHARED[sharing]:
        assert module is None
        return
    expected = {"decode"}
    if side == "encoder":
        expected = MODES_OF_ENCODER_PART[part] | ({"decode"} if part in SHARED[sharing] else set())
    before = _outputs(transformer)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    after = _outputs(transformer)
    assert {mode for mode in before if not torch.equal(before[mode], after[mode])} == expected


@pytest.mark.parametrize("sharing", SCHEMES)
def test_decoder_attributes_name_what_is_its_own(sharing: str) -> None:
    own = {part for part in PARTS if getattr(tiny_transformer(sharing), f"decoder_{part}") is not None}
    assert own == DECODERS_OWN[sharing] == set(PARTS) - SHARED[sharing]


@pytest.mark.parametrize("sharing", SCHEMES)
def test_state_dict_holds_every_tensor_once(sharing: str) -> None:
    tensors = tiny_transformer(sharing).state_dict().values()
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)


@pytest.mark.parametrize("sharing", ["all", "all_but_sa", "none"])
def test_image_keys_values_are_one_object_where_cross_attention_is_shared(sharing: str) -> None:
    transformer = tiny_transformer(sharing)
    assert transformer.keys_values_side("encoder") == "encoder"
    assert transformer.keys_values_side("decoder") == ("decoder" if sharing == "none" else "encoder")


@pytest.mark.parametrize(
    ("sharing", "millions"), [("all", 224), ("all_but_ca", 252), ("all_but_sa", 252), ("none", 361)]
)
def test_parameter_counts_at_base_size_are_the_papers(sharing: str, millions: int) -> None:
    """BLIP table 3: ViT-B/16, BERT-base and prediction head, without projections and ITM head."""
    with torch.device("meta"):
        transformer = TextTransformer(vocab_size=30524, image_width=768, sharing=sharing)
        prediction = WordPrediction(768, 30524)
    vision = _vit_base_parameters()
    assert round((_count(transformer) + _count(prediction) + vision) / 1e6) == millions


def _vit_base_parameters() -> int:
    """ViT-B/16 at 224 pixels, from its published sizes."""
    patches = 16 * 16 * 3 * 768 + 768
    positions = (14 * 14 + 1) * 768 + 768
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    return patches + positions + 12 * layer + 2 * 768


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("sharing", SCHEMES)
def test_feature_towers_hold_the_text_mode_alone(sharing: str) -> None:
    transformer = tiny_transformer(sharing)
    image_encoder = nn.Linear(1, 1)
    image_encoder.width = 24
    model = Med(
        image_encoder=image_encoder,
        text_transformer=transformer,
        tokenizer=WordPiece(VOCABULARY),
        embed_dim=8,
    )
    expected = {
        id(parameter)
        for module in (
            image_encoder,
            model.image_projection,
            model.text_projection,
            transformer.embeddings,
            transformer.self_attention,
            transformer.feed_forward,
        )
        for parameter in module.parameters()
    }
    assert {id(parameter) for parameter in model.feature_towers().parameters()} == expected


@pytest.mark.parametrize("sharing", ["all_but_sa", "all_but_ca", "none"])
def test_a_decoder_of_its_own_starts_from_shared_weights(sharing: str) -> None:
    """As when a captioner, whose file has one transformer, is imported and fine-tuned as BLIP's MED."""
    shared, own = tiny_transformer("all"), tiny_transformer(sharing)
    ids = torch.tensor([[2, 5, 6, 7]])
    image = torch.randn(1, 3, 24)
    done = take_over(
        Learner(own, {}), ForeignWeights({f"model.{k}": v for k, v in shared.state_dict().items()}), ""
    )
    assert not done.fresh
    found, expected = (
        each.eval().decode(ids, each.image_keys_values(image, "decoder")) for each in (own, shared)
    )
    torch.testing.assert_close(found, expected)
