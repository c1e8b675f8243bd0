"""Word maps against a plain computation, and what must hold for any of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_blip.gradcam import layer_to_look_at
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.image_encoder import timm_features
from mmtk_blip.losses import CrossEntropy
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import TextTransformer
from torch import Tensor, nn

from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError, RecipeError
from mmtk.kinds import WordMappingHead
from mmtk.types import TextMaps
from tests.albef.parts import tiny_learner as tiny_albef

from .parts import TEXTS, batch, next_in_batch, spread_weights, tiny_learner, tiny_transformer, tokenizer


def learner_of_depth(depth: int) -> Learner:
    learner = tiny_learner()
    learner.model.text_transformer = tiny_transformer(depth=depth)
    return learner.eval()


def maps_of(learner: Learner, texts: tuple[str, ...] = TEXTS, layer: int | None = None) -> list[TextMaps]:
    return learner.heads["itm"].word_maps(learner.model, batch(texts).images, texts, layer)


def plain_attention(block: nn.Module, states: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """One text's attention block, head by head: states ``(L, D)`` and probabilities ``(H, L, N)``."""
    width = states.shape[1] // block.heads
    probabilities, values = [], []
    for head in range(block.heads):
        own = slice(head * width, (head + 1) * width)
        query, key, value = (
            F.linear(x, layer.weight[own], layer.bias[own])
            for x, layer in ((states, block.query), (source, block.key), (source, block.value))
        )
        probabilities.append(torch.softmax(query @ key.T / math.sqrt(width), dim=1))
        values.append(value)
    stacked = torch.stack(probabilities)
    mixed = torch.cat([stacked[head] @ value for head, value in enumerate(values)], dim=1)
    return block.norm(block.output(mixed) + states), stacked


def plain_gradcam(learner: Learner, image: Tensor, text: str, layer: int) -> tuple[Tensor, Tensor]:
    """One pair without batches, packing, caches or fused kernels: logits ``(2,)``, weights ``(L, N)``."""
    model = learner.model
    transformer = model.text_transformer
    ids = model.tokenizer([text])[0][0].clone()
    ids[0] = model.tokenizer.encode_id
    tokens = model.image_encoder(image[None])[0]
    states = transformer.embeddings(ids[None])[0]
    kept: list[Tensor] = []
    for number in range(transformer.depth):
        states, _ = plain_attention(transformer.self_attention[number], states, states)
        states, probabilities = plain_attention(transformer.cross_attention[number], states, tokens)
        kept.append(probabilities)
        states = transformer.feed_forward[number](states)
    logits = learner.heads["itm"].classifier(states[0])
    (gradient,) = torch.autograd.grad(logits[1], kept[layer])
    raised = torch.where(gradient > 0, gradient, 0.0)
    return logits, (kept[layer] * raised).sum(0) / len(gradient)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_maps_and_logits_are_those_of_a_plain_computation(layer: int) -> None:
    learner = learner_of_depth(4).double()
    images = batch().images.double()
    found = learner.heads["itm"].word_maps(learner.model, images, TEXTS, layer)
    for image, text, maps in zip(images, TEXTS, found, strict=True):
        logits, weights = plain_gradcam(learner, image, text, layer)
        torch.testing.assert_close(maps.logits, logits)
        place = 1
        for word in maps.words:
            pieces = 2 if word.word == "dogs" else 1  # dog, ##s
            expected = weights[place : place + pieces, 1:].mean(0).reshape(2, 2)
            torch.testing.assert_close(word.weights, expected.float())
            place += pieces
        assert place == len(weights) - 1  # [SEP]
    assert sum(word.weights.max() > 1e-4 for one in found for word in one.words) > 5


def test_logits_are_those_of_the_ordinary_forward_pass() -> None:
    learner = tiny_learner().eval()
    model = learner.model
    expected = learner.heads["itm"].match_logits(
        model.encode_images(batch().images), model.encode_texts(TEXTS)
    )
    torch.testing.assert_close(torch.stack([one.logits for one in maps_of(learner)]), expected)


def test_maps_are_not_negative_and_have_the_encoders_grid() -> None:
    for one in maps_of(learner_of_depth(3)):
        for word in one.words:
            assert word.weights.shape == (2, 2)
            assert word.weights.dtype == torch.float32
            assert not word.weights.requires_grad
            assert (word.weights >= 0).all()


def test_pieces_are_joined_to_words_as_the_text_spells_them() -> None:
    words = [[word.word for word in one.words] for one in maps_of(tiny_learner().eval())]
    assert words == [text.split() for text in TEXTS]


def test_words_of_the_tokenizer() -> None:
    found = tokenizer().words("Big Dogs, née owl")
    assert found == [("Big", [1]), ("Dogs", [2, 3]), (",", [4]), ("née", [5]), ("owl", [6])]
    assert tokenizer().words("") == []
    assert tokenizer(max_length=4).words("a dogs owl") == [("a", [1]), ("dogs", [2])]


def test_a_text_that_is_cut_has_maps_of_the_words_that_are_left() -> None:
    learner = tiny_learner().eval()
    learner.model.tokenizer = tokenizer(max_length=5)
    (one,) = maps_of(learner, ("a red cat on the car",))
    assert [word.word for word in one.words] == ["a", "red", "cat"]


def test_nothing_is_left_behind() -> None:
    learner = tiny_learner().eval()
    before = learner.heads["itm"].match_logits(
        learner.model.encode_images(batch().images), learner.model.encode_texts(TEXTS)
    )
    maps_of(learner)
    assert all(parameter.grad is None for parameter in learner.parameters())
    for block in learner.model.text_transformer.cross_attention:
        assert "mix" not in vars(block)
    after = learner.heads["itm"].match_logits(
        learner.model.encode_images(batch().images), learner.model.encode_texts(TEXTS)
    )
    assert torch.equal(before, after)


def test_a_failure_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = tiny_learner().eval()
    monkeypatch.setattr(learner.model, "ground", None)
    with pytest.raises(TypeError):
        maps_of(learner)
    assert all("mix" not in vars(block) for block in learner.model.text_transformer.cross_attention)


def test_it_works_where_gradients_are_off() -> None:
    learner = tiny_learner().eval()
    expected = maps_of(learner)
    with torch.inference_mode():
        found = maps_of(learner)
    for one, other in zip(expected, found, strict=True):
        for word, same in zip(one.words, other.words, strict=True):
            assert torch.equal(word.weights, same.weights)


@pytest.mark.parametrize(("depth", "layer"), [(2, 0), (3, 1), (4, 2), (6, 3), (12, 7), (24, 15)])
def test_the_layer_by_default_is_two_thirds_up(depth: int, layer: int) -> None:
    assert layer_to_look_at(depth, None) == layer


def test_layers_that_can_not_be_looked_at() -> None:
    with pytest.raises(RecipeError, match=r"layer 11: the model has 12 .* can look at 0 to 10, because"):
        layer_to_look_at(12, 11)
    with pytest.raises(RecipeError, match="layer -1"):
        layer_to_look_at(12, -1)
    with pytest.raises(CheckpointError, match="needs two layers of cross-attention or more"):
        layer_to_look_at(1, None)


def test_in_the_last_layer_no_word_counts() -> None:
    """Why the last layer is refused: the plain computation gives zeros there, but for the first token."""
    learner = learner_of_depth(3)
    _, weights = plain_gradcam(learner, batch().images[0], TEXTS[0], 2)
    assert weights[0].max() > 0
    assert weights[1:].abs().max() == 0


class Patches(nn.Module):
    """The brightness of each of 3 by 4 patches as its token; the first token is black."""

    width = 24

    def forward(self, images: Tensor) -> Tensor:
        brightness = F.adaptive_avg_pool2d(images.mean(1, keepdim=True), self.grid(images)).flatten(1)
        tokens = torch.zeros(len(images), brightness.shape[1] + 1, self.width)
        tokens[:, 1:, 0] = brightness
        return tokens

    def grid(self, images: Tensor) -> tuple[int, int]:  # noqa: ARG002
        return 3, 4


def bright_at(row: int, column: int) -> Tensor:
    image = torch.zeros(1, 3, 30, 40)
    image[:, :, row * 10 : row * 10 + 10, column * 10 : column * 10 + 10] = 1
    return image


def learner_that_looks_at_brightness() -> Learner:
    """Every query asks for brightness, whatever the word: attention is on the bright patch."""
    torch.manual_seed(0)
    model = Med(
        image_encoder=Patches(),
        text_transformer=tiny_transformer(depth=3),
        tokenizer=tokenizer(),
        embed_dim=8,
    )
    with torch.no_grad():
        for block in model.text_transformer.cross_attention:
            block.query.weight.zero_()
            block.query.bias.fill_(1)
            block.key.weight.zero_()
            block.key.weight[:, 0] = 3
    head = ItmHead(text_width=16, loss=CrossEntropy(), negatives=next_in_batch(2))
    return Learner(model, {"itm": head}).eval()


@pytest.mark.parametrize("place", [(0, 0), (1, 3), (2, 1)])
def test_the_map_is_where_the_object_is(place: tuple[int, int]) -> None:
    learner = learner_that_looks_at_brightness()
    (one,) = learner.heads["itm"].word_maps(learner.model, bright_at(*place), ["a red cat"])
    with torch.no_grad():  # what speaks against the match speaks for it with the classifier turned round
        learner.heads["itm"].classifier.weight.neg_()
    (other,) = learner.heads["itm"].word_maps(learner.model, bright_at(*place), ["a red cat"])
    for word, opposite in zip(one.words, other.words, strict=True):
        weights = word.weights + opposite.weights
        assert divmod(int(weights.argmax()), 4) == place
        assert weights[place] > 0.8 * weights.sum()


def test_features_of_a_convolutional_network_are_a_grid() -> None:
    learner = tiny_learner().eval()
    encoder = timm_features(name="resnet10t", width=24, out_index=-2)
    learner.model.image_encoder = spread_weights(encoder).eval()
    images = torch.randn(1, 3, 48, 80)
    (one,) = learner.heads["itm"].word_maps(learner.model, images, ["a cat"])
    assert [word.weights.shape for word in one.words] == [(3, 5), (3, 5)]


def test_albef_has_word_maps_too() -> None:
    learner = tiny_albef().eval()
    images = torch.randn(2, 3, 32, 32)
    maps = learner.heads["itm"].word_maps(learner.model, images, ["a red cat", "owl"])
    logits = learner.heads["itm"].match_logits(
        learner.model.encode_images(images), learner.model.encode_texts(["a red cat", "owl"])
    )
    torch.testing.assert_close(torch.stack([one.logits for one in maps]), logits)
    assert [[word.word for word in one.words] for one in maps] == [["a", "red", "cat"], ["owl"]]


def test_a_model_that_can_not_be_looked_into_says_what_it_lacks() -> None:
    learner = tiny_learner().eval()
    learner.model.image_encoder = nn.Identity()
    learner.model.tokenizer = object()
    with pytest.raises(
        CheckpointError,
        match=r"look into Med: it lacks an image encoder that .*, a tokenizer that says its words",
    ):
        maps_of(learner)


def test_the_itm_head_is_found_by_what_it_can_do() -> None:
    learner = tiny_learner()
    assert learner.head_with(WordMappingHead) is learner.heads["itm"]
    assert isinstance(learner.model.text_transformer, TextTransformer)
    with pytest.raises(CheckpointError, match="a head that can say where in a picture it sees each word"):
        Learner(learner.model, {"lm": learner.heads["lm"]}).head_with(WordMappingHead)
