"""ALBEF's size, what its towers share with it, and how far other plugins can use it."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import torch
from mmtk_albef.text_transformer import AlbefBert
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.layers import WordPrediction
from mmtk_eval.retrieval import Retrieval
from torch import nn

from mmtk.data.images.transforms import BlipTest
from mmtk.data.pipeline import EvaluationData
from tests.small_learner import Built, ListReader, data_config, sample, stage_context

from .parts import TEXTS, batch, state, tiny_learner


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_size_is_the_papers() -> None:
    with torch.device("meta"):
        vit, bert = timm_vit(image_size=256), AlbefBert(vocab_size=30522, image_width=768)
        prediction = WordPrediction(768, 30522)
    assert round(count(vit) / 1e6, 1) == 85.8  # arXiv 2107.07651, §3.5
    assert round((count(bert) + count(prediction)) / 1e6, 1) == 123.7


def test_towers_are_the_model_without_its_temperature() -> None:
    model = tiny_learner().model
    towers = {id(parameter) for parameter in model.feature_towers().parameters()}
    rest = [name for name, parameter in model.named_parameters() if id(parameter) not in towers]
    assert rest == ["temperature"]


def test_the_temperature_is_kept_within_bounds() -> None:
    model = tiny_learner().model
    for value, expected in ((0.0, 0.001), (2.0, 0.5)):
        nn.init.constant_(model.temperature, value)
        model.before_step(state())
        assert model.temperature.item() == torch.tensor(expected).item()


def test_the_words_to_predict_are_those_to_read() -> None:
    model = tiny_learner().model.eval()
    towers = copy.deepcopy(model.feature_towers())
    context = model.context(batch(), state())
    image = context.image.keys_values("encoder")
    nn.init.zeros_(towers.text_transformer.embeddings.word.weight)
    nn.init.zeros_(towers.prediction.bias)
    logits = towers.word_logits(context.text.ids, context.text.mask, image, context.text.mask)
    assert logits.shape == (int(context.text.mask.sum()), model.tokenizer.vocab_size)
    assert not logits.any()


def test_retrieval_ranks_with_albef() -> None:
    samples = [sample(row, text) for row, text in enumerate(TEXTS)]
    learner = tiny_learner().eval()
    small = data_config(ListReader(samples), batch_size=3)
    data = EvaluationData(dataclasses.replace(small, image_transform=Built(BlipTest(size=32))))
    figures = Retrieval(k=2, pairs_per_batch=3)(learner, data, stage_context(Path()))
    assert figures["images"] == figures["texts"] == len(TEXTS)
    assert figures["image_to_text/r5"] == 1
    assert 0 <= figures["text_to_image/r1"] <= 1
