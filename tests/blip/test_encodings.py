"""Encodings compute each part once; selecting rows equals computing them anew."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from mmtk_blip.encodings import ImageEncoding
from mmtk_blip.text_transformer import Side

from mmtk.engine.learner import Learner

from .parts import TEXTS, batch, state, tiny_learner


@pytest.fixture
def learner() -> Learner:
    return tiny_learner("none").eval()


@pytest.fixture
def calls(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the model's expensive parts ran."""
    counts: Counter[str] = Counter()
    transformer = learner.model.text_transformer
    image_keys_values, encode = transformer.image_keys_values, transformer.encode
    image_encoder_forward = learner.model.image_encoder.forward

    def count_keys_values(embeds: torch.Tensor, side: Side):
        counts[f"keys_values/{side}"] += 1
        return image_keys_values(embeds, side)

    def count_encode(*args: torch.Tensor) -> torch.Tensor:
        counts["text"] += 1
        return encode(*args)

    def count_images(images: torch.Tensor) -> torch.Tensor:
        counts["image"] += 1
        return image_encoder_forward(images)

    monkeypatch.setattr(transformer, "image_keys_values", count_keys_values)
    monkeypatch.setattr(transformer, "encode", count_encode)
    monkeypatch.setattr(learner.model.image_encoder, "forward", count_images)
    return counts


INDEX = torch.tensor([3, 0, 0, 2, 1])


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_selected_images_equal_recomputed_ones(learner: Learner, side: Side) -> None:
    images = batch().images
    selected = learner.model.encode_images(images).select(INDEX)
    anew = learner.model.encode_images(images[INDEX])
    assert len(selected) == len(anew) == len(INDEX)
    torch.testing.assert_close(selected.embeds, anew.embeds)
    torch.testing.assert_close(selected.features, anew.features)
    for found, expected in zip(selected.keys_values(side), anew.keys_values(side), strict=True):
        torch.testing.assert_close(found, expected)


def test_selected_texts_equal_recomputed_ones(learner: Learner) -> None:
    selected = learner.model.encode_texts(TEXTS).select(INDEX)
    anew = learner.model.encode_texts([TEXTS[index] for index in INDEX])
    assert len(selected) == len(anew) == len(INDEX)
    assert torch.equal(selected.ids, anew.ids)
    assert torch.equal(selected.mask, anew.mask)
    torch.testing.assert_close(selected.features, anew.features)
    torch.testing.assert_close(selected.states, anew.states)


def test_a_selection_of_a_selection(learner: Learner) -> None:
    encoding = learner.model.encode_images(batch().images)
    twice = encoding.select(INDEX).select(torch.tensor([4, 1]))
    torch.testing.assert_close(twice.features, encoding.features[[1, 0]])


def test_features_have_unit_norm(learner: Learner) -> None:
    for features in (
        learner.model.encode_images(batch().images).features,
        learner.model.encode_texts(TEXTS).features,
    ):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(len(TEXTS)))


def test_three_heads_compute_each_shared_part_once(learner: Learner, calls: Counter[str]) -> None:
    context = learner.model.context(batch(), state())
    for head in learner.heads.values():
        head(context)
    assert calls == {"image": 1, "text": 1, "keys_values/encoder": 1, "keys_values/decoder": 1}


def test_shared_cross_attention_has_one_set_of_keys_and_values() -> None:
    encoding = tiny_learner("all_but_sa").model.encode_images(batch().images)
    assert encoding.keys_values("decoder") is encoding.keys_values("encoder")


def test_own_cross_attention_has_its_own_keys_and_values(learner: Learner) -> None:
    encoding: ImageEncoding = learner.model.encode_images(batch().images)
    encoder, decoder = encoding.keys_values("encoder"), encoding.keys_values("decoder")
    assert encoder is encoding.keys_values("encoder")
    assert not torch.equal(encoder[0].keys, decoder[0].keys)


def test_matching_needs_no_text_features(learner: Learner, calls: Counter[str]) -> None:
    images, texts = learner.model.encode_images(batch().images), learner.model.encode_texts(TEXTS)
    learner.heads["itm"].match_logits(images, texts)
    assert calls["text"] == 0
