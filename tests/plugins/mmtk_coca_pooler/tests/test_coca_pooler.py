"""The encoder on SigLIP's ViT and on one with a [CLS] token, with random weights and with a file's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmtk_coca_pooler.configs import CocaPoolerConfig
from mmtk_coca_pooler.encoder import CocaEncoder, Pooler, coca_pooler

from mmtk.api import RecipeError

TINY: dict[str, Any] = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2}
SIGLIP, CLASSIC = "vit_base_patch16_siglip_224", "vit_base_patch16_224"


def encoder(name: str = SIGLIP, weights: Path | None = None, **options: Any) -> CocaEncoder:
    return coca_pooler(name=name, options=TINY | options, weights=weights, width=24, queries=3, heads=4)


@pytest.mark.parametrize("name", [SIGLIP, CLASSIC])
def test_it_gives_one_token_for_the_whole_and_some_for_words(name: str) -> None:
    made = encoder(name)
    tokens = made(torch.randn(2, 3, 32, 32))
    assert tokens.shape == (2, 1 + 3, made.width)
    assert made.image_size == 32
    tokens.square().sum().backward()
    # DDP refuses parameters that nothing trains.
    assert [name for name, one in made.named_parameters() if one.grad is None] == []


def test_a_pooler_attends_as_the_formula_says() -> None:
    torch.manual_seed(0)
    pooler, source = Pooler(2, 8, 6, heads=1), torch.randn(1, 5, 6)
    normed = pooler.source_norm(source)[0]
    weights = dict(pooler.attention.named_parameters())
    query, key, value = (
        states @ weights[f"{part}_proj_weight"].t()
        for part, states in (("q", pooler.queries), ("k", normed), ("v", normed))
    )
    attended = torch.softmax(query @ key.t() / 8**0.5, dim=1) @ value
    expected = pooler.norm(pooler.attention.out_proj(attended))
    torch.testing.assert_close(pooler(source)[0], expected)


def test_weights_come_from_a_file_of_timms(tmp_path: Path) -> None:
    whole = timm.create_model(SIGLIP, **TINY)  # with a pooling head of its own, which is left out
    torch.save(whole.state_dict(), tmp_path / "siglip.pth")
    made = encoder(weights=tmp_path / "siglip.pth")
    torch.testing.assert_close(made.vit.blocks[1].mlp.fc1.weight, whole.blocks[1].mlp.fc1.weight)
    larger = encoder(weights=tmp_path / "siglip.pth", img_size=64)
    torch.testing.assert_close(larger.vit.blocks[1].mlp.fc1.weight, whole.blocks[1].mlp.fc1.weight)
    assert larger(torch.randn(1, 3, 64, 64)).shape == (1, 4, 24)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_bose", {}, "timm can't build 'vit_bose'"),
        (SIGLIP, {"depht": 3}, "depht"),
        (SIGLIP, {"embed_dim": 33}, "timm can't build"),
    ],
)
def test_what_timm_refuses_is_told(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        encoder(name, **options)


def test_a_network_without_tokens_is_refused() -> None:
    with pytest.raises(RecipeError, match="takes a ViT, and timm's 'resnet10t' is a ResNet"):
        coca_pooler(name="resnet10t", options={}, weights=None, width=8, queries=1, heads=1)


def test_heads_divide_the_width() -> None:
    assert list(CocaPoolerConfig(width=10, heads=4).check()) == [
        ("heads", "4 heads don't divide the width 10")
    ]
