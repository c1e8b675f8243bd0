"""Image encoders: tokens, their order, sizes and refusals."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmtk_blip.image_encoder import timm_features, timm_vit
from torch import nn

from mmtk.engine.weights import load_weights, save_weights
from mmtk.errors import RecipeError
from mmtk.plugins import load_plugins
from mmtk.recipe.build import blueprint, from_plain, to_plain

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SMALL = {"image_size": 64, "width": 24, "depth": 2, "heads": 2}


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize("patch_size", [8, 16])
def test_vit_gives_class_token_and_patches(stem: str, patch_size: int) -> None:
    encoder = timm_vit(**SMALL, patch_size=patch_size, stem=stem)
    assert encoder(IMAGES).shape == (2, 1 + (64 // patch_size) ** 2, encoder.width)
    assert encoder.width == 24


def test_vit_tokens_are_normalised_and_first_is_the_class_token() -> None:
    encoder = timm_vit(**SMALL).eval()
    vit = encoder.vit
    states = torch.cat((vit.cls_token.expand(2, -1, -1), vit.patch_embed(IMAGES)), 1) + vit.pos_embed
    for block in vit.blocks:
        states = block(states)
    torch.testing.assert_close(encoder(IMAGES), vit.norm(states))
    assert vit.norm.eps == 1e-6


def test_patches_keep_their_places_through_the_conv_stem() -> None:
    """Changing the lower right corner of the picture changes the last token most."""
    stem = timm_vit(**SMALL, stem="conv").eval().vit.patch_embed
    changed = IMAGES.clone()
    changed[:, :, -8:, -8:] += 3
    moved = (stem(changed) - stem(IMAGES)).norm(dim=2)
    assert moved.argmax(1).tolist() == [15, 15]
    assert moved[:, 0].eq(0).all()


def test_conv_stem_halves_the_picture_with_growing_width() -> None:
    convolutions = [m for m in timm_vit(**SMALL, stem="conv").modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [3, 6, 12, 24, 24]
    assert [m.stride[0] for m in convolutions] == [2, 2, 2, 2, 1]


def test_named_vit_takes_timms_sizes() -> None:
    encoder = timm_vit(name="vit_tiny_patch16_224", image_size=32)
    assert encoder.width == 192
    assert len(encoder.vit.blocks) == 12
    assert encoder(IMAGES[:, :, :32, :32]).shape == (2, 5, 192)


def test_drop_path_acts_in_training_only() -> None:
    encoder = timm_vit(**SMALL, drop_path=0.5)
    assert not torch.equal(encoder(IMAGES), encoder(IMAGES))
    encoder.eval()
    assert torch.equal(encoder(IMAGES), encoder(IMAGES))


@pytest.mark.parametrize("name", ["resnet18", "vit_wee_patch16_reg1_gap_256", "swin_tiny_patch4_window7_224"])
def test_what_is_no_vit_with_class_token_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"timm_vit: '{name}' is no vision transformer with a class token"):
        timm_vit(name=name, image_size=224)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"pictures of 32x32 \(image_size\), but the data gives 64x64"):
        timm_vit(image_size=32, width=24, depth=1, heads=2)(IMAGES)


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({}, 4),
        ({"out_index": 3}, 16),
        ({"output_stride": 16}, 16),
        ({"out_index": 2}, 64),
        ({"drop_path": 0.1}, 4),
    ],
)
def test_feature_map_as_tokens(options: dict[str, int], tokens: int) -> None:
    encoder = timm_features(name="resnet10t", width=40, **options)
    assert encoder(IMAGES).shape == (2, 1 + tokens, 40)
    assert encoder.width == 40


def test_first_token_is_the_mean_of_the_map() -> None:
    encoder = timm_features(name="resnet10t", width=40, out_index=3).eval()
    (feature_map,) = encoder.network(IMAGES)
    found = encoder(IMAGES)
    torch.testing.assert_close(found[:, 0], encoder.norm(encoder.projection(feature_map.mean((2, 3)))))
    torch.testing.assert_close(
        found[:, 1 + 4 * 2 + 3], encoder.norm(encoder.projection(feature_map[:, :, 2, 3]))
    )


def test_further_options_reach_the_network() -> None:
    wide = timm_features(name="resnet10t", width=40)
    narrow = timm_features(name="resnet10t", width=40, options={"channels": [32, 64, 128, 256]})
    assert (wide.projection.in_features, narrow.projection.in_features) == (512, 256)
    assert narrow(IMAGES).shape == (2, 5, 40)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(RecipeError, match=r"options \{'chanels': \[32\]\}: TypeError .*'chanels'"):
        timm_features(name="resnet10t", width=8, options={"chanels": [32]})


def test_a_recipe_gives_options_and_a_checkpoint_keeps_them() -> None:
    registry = load_plugins().registry
    data = {
        "use": "timm_features",
        "name": "resnet10t",
        "width": 40,
        "options": {"channels": [8, 16, 24, 32]},
    }
    checked = from_plain("image_encoder", data, registry)
    stored = json.loads(json.dumps(to_plain(checked)))
    assert stored["options"] == data["options"]
    encoder = blueprint(from_plain("image_encoder", stored, registry), registry, {}).build()
    assert encoder.projection.in_features == 32


def test_channels_last_changes_the_layout_alone(tmp_path: Path) -> None:
    """Tokens and gradients are those of the network run the usual way; copies and files keep the weights."""
    encoder = timm_features(name="resnet10t", width=40, out_index=3)
    usual = copy.deepcopy(encoder.network).to(memory_format=torch.contiguous_format)
    (feature_map,) = encoder.network(IMAGES.contiguous(memory_format=torch.channels_last))
    assert feature_map.is_contiguous(memory_format=torch.channels_last)
    (expected,) = usual(IMAGES)
    assert expected.is_contiguous()
    torch.testing.assert_close(feature_map, expected, rtol=1e-4, atol=1e-5)
    for found, wanted in ((feature_map, encoder.network), (expected, usual)):
        found.square().mean().backward()
        assert all(parameter.grad is not None for parameter in wanted.parameters())
    for mine, theirs in zip(encoder.network.parameters(), usual.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5)

    encoder.eval()
    twin = copy.deepcopy(encoder)
    other = timm_features(name="resnet10t", width=40, out_index=3).eval()
    save_weights(encoder, tmp_path / "encoder.safetensors")
    load_weights(other, tmp_path / "encoder.safetensors")
    for one in (twin, other):
        assert torch.equal(one(IMAGES), encoder(IMAGES))
        strides = [parameter.stride() for parameter in one.parameters()]
        assert strides == [parameter.stride() for parameter in encoder.parameters()]


def test_other_networks_give_tokens_too() -> None:
    encoder = timm_features(name="convnext_atto", width=16, out_index=-2)
    assert encoder(IMAGES).shape == (2, 17, 16)


@pytest.mark.parametrize("build", [timm_vit, timm_features])
def test_an_unknown_name_lists_near_ones(build) -> None:
    with pytest.raises(RecipeError, match="timm has no network 'resnet10'; did you mean 'resnet10t'"):
        build(name="resnet10", width=8)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {"out_index": 9}),
        ("vgg11", {"output_stride": 16}),
        ("vgg11", {"drop_path": 0.1}),
        ("resnet10t", {"options": {"chanels": [32, 64, 128, 256]}}),
        ("resnet10t", {"options": {"channels": 5}}),
        ("resnet10t", {"options": {"out_indices": [1]}}),
    ],
)
def test_what_a_network_cannot_do_is_one_message(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"timm's '{name}' gives no feature map"):
        timm_features(name=name, width=8, **options)


def test_checkpointed_layers_change_no_number_and_no_name() -> None:
    sizes = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 3, "heads": 2, "drop_path": 0.3}
    images = torch.randn(5, 3, 32, 32)
    gradients, states = [], []
    for layers in (0, 2, 9):
        torch.manual_seed(0)
        encoder = timm_vit(**sizes, checkpointed_layers=layers)
        encoder(images).square().mean().backward()
        gradients.append([parameter.grad for parameter in encoder.parameters()])
        states.append(list(encoder.state_dict()))
    assert states[0] == states[1] == states[2]
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0])


def test_a_copy_of_checkpointed_layers_runs_on_its_own_weights() -> None:
    encoder = timm_vit(image_size=32, patch_size=8, width=16, depth=2, heads=2, checkpointed_layers=2).eval()
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    images = torch.randn(2, 3, 32, 32)
    assert encoder(images).abs().sum() == 0
    assert twin(images).abs().sum() > 0
