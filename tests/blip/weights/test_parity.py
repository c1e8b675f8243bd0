"""What transformers computes with an exported folder, and what mmtk computes with an imported one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmtk_blip.text_transformer import first_token_replaced
from mmtk_blip.weights.exporters import TransformersExporter
from torch import Tensor
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipModel,
    BlipProcessor,
    PreTrainedModel,
)

from mmtk.engine.learner import Learner
from mmtk.types import Decoding
from tests.blip.parts import batch, spread_weights

from .learners import VOCAB, imported_again, small_learner, source_of, vocab_file

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
TOKENS = len(VOCAB) + 2
START = len(VOCAB)


def config() -> BlipConfig:
    return BlipConfig(
        text_config={
            "vocab_size": TOKENS,
            "hidden_size": 16,
            "encoder_hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 40,
            "bos_token_id": START,
            "eos_token_id": 3,
            "sep_token_id": 3,
        },
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "image_size": 32,
            "patch_size": 16,
            "layer_norm_eps": 1e-6,
        },
        image_text_hidden_size=8,
        projection_dim=8,
    )


def theirs(kind: type[PreTrainedModel], folder: Path, **changes: object) -> PreTrainedModel:
    """A random model of transformers, saved in ``folder`` with a vocabulary."""
    torch.manual_seed(0)
    changed = config()
    for name, value in changes.items():
        setattr(changed.vision_config, name, value)
    model = spread_weights(kind(changed)).eval()
    model.save_pretrained(folder)
    vocab_file(folder)
    return model


def texts_of(learner: Learner) -> tuple[Tensor, Tensor]:
    ids, mask = learner.model.tokenizer(batch().texts)
    return ids, mask


@torch.no_grad()
def assert_same_retrieval(model: PreTrainedModel, learner: Learner) -> None:
    images, texts = (
        learner.model.encode_images(batch().images),
        learner.model.encode_texts(batch().texts),
    )
    given = {"input_ids": texts.ids, "pixel_values": batch().images, "attention_mask": texts.mask.long()}
    found = model(**given, use_itm_head=False)
    torch.testing.assert_close(images.embeds, found.last_hidden_state, **CLOSE)
    torch.testing.assert_close(images.features @ texts.features.T, found.itm_score, **CLOSE)
    embeds = found.last_hidden_state[:, 0]
    features = torch.nn.functional.normalize(model.vision_proj(embeds), dim=-1)
    torch.testing.assert_close(images.features, features, **CLOSE)
    features = torch.nn.functional.normalize(model.text_proj(found.question_embeds[:, 0]), dim=-1)
    torch.testing.assert_close(texts.features, features, **CLOSE)
    # As trained, with [ENC] in front.
    encode = learner.model.tokenizer.encode_id
    given["input_ids"] = first_token_replaced(texts.ids, encode)
    expected = model(**given).itm_score
    torch.testing.assert_close(learner.heads["itm"].match_logits(images, texts), expected, **CLOSE)
    # As transformers has it, with [CLS].
    given["input_ids"] = texts.ids
    states = learner.model.text_transformer.ground(texts.ids, texts.mask, images.keys_values("encoder"))
    without = learner.heads["itm"].classifier(states[:, 0])
    torch.testing.assert_close(without, model(**given).itm_score, **CLOSE)
    assert not torch.allclose(without, expected, rtol=1e-2)


@torch.no_grad()
def assert_same_captioning(model: PreTrainedModel, learner: Learner) -> None:
    ids, mask = texts_of(learner)
    ids = first_token_replaced(ids, learner.model.tokenizer.decode_id)
    images = learner.model.encode_images(batch().images)
    states = learner.model.text_transformer.decode(ids, images.keys_values("decoder"))
    logits = learner.heads["lm"].logits(learner.model, states)
    expected = model(pixel_values=batch().images, input_ids=ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(logits[mask], expected[mask], **CLOSE)
    decoding = Decoding(beams=1, min_length=5, max_length=16)
    options = {"num_beams": 1, "do_sample": False, "min_length": 5, "max_length": 16}
    written = model.generate(pixel_values=batch().images, **options).tolist()
    end = learner.model.tokenizer.end_id
    written = [row[: row.index(end)] if end in row else row for row in written]
    assert learner.heads["lm"].generate_ids(images, decoding) == written
    assert len({tuple(row) for row in written}) > 1


def test_an_imported_retriever(tmp_path: Path) -> None:
    model = theirs(BlipForImageTextRetrieval, tmp_path / "theirs")
    learner, done = imported_again(tmp_path / "theirs", tmp_path)
    assert not done.takeover.left_over
    assert not done.takeover.fresh
    assert_same_retrieval(model, learner)


def test_an_imported_captioner(tmp_path: Path) -> None:
    model = theirs(BlipForConditionalGeneration, tmp_path / "theirs")
    learner, done = imported_again(tmp_path / "theirs", tmp_path)
    assert not done.takeover.left_over
    assert_same_captioning(model, learner)


def test_exported_folders(tmp_path: Path) -> None:
    learner = small_learner()
    TransformersExporter()(source_of(learner), tmp_path / "blip")
    captioner, report = BlipForConditionalGeneration.from_pretrained(
        tmp_path / "blip/caption", output_loading_info=True
    )
    assert not any(report.values())
    assert_same_captioning(captioner, learner)
    retriever, report = BlipForImageTextRetrieval.from_pretrained(
        tmp_path / "blip/retrieval", output_loading_info=True
    )
    assert not any(report.values())
    assert_same_retrieval(retriever, learner)


@pytest.mark.parametrize("kind", [BlipForConditionalGeneration, BlipForImageTextRetrieval])
def test_theirs_in_and_out_is_equal(tmp_path: Path, kind: type[PreTrainedModel]) -> None:
    model = theirs(kind, tmp_path / "theirs")
    learner, _ = imported_again(tmp_path / "theirs", tmp_path)
    TransformersExporter()(source_of(learner), tmp_path / "again")
    again = kind.from_pretrained(tmp_path / "again")
    expected = model.state_dict()
    assert set(again.state_dict()) == set(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())


def test_the_processor_gives_what_the_learner_reads(tmp_path: Path) -> None:
    learner = small_learner()
    TransformersExporter(task="retrieval")(source_of(learner), tmp_path / "blip")
    processor = BlipProcessor.from_pretrained(tmp_path / "blip")
    texts = ["A red CAT", "the small house near trees and an unknown thing"]
    found = processor(text=texts, padding=True, return_tensors="pt")
    ids, mask = learner.model.tokenizer(texts)
    assert torch.equal(found["input_ids"], ids)
    assert torch.equal(found["attention_mask"].bool(), mask)
    assert len(processor.tokenizer) == learner.model.tokenizer.vocab_size
    words = learner.model.tokenizer
    assert processor.tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [words.decode_id, words.encode_id]
    spoken = [words.decode_id, words.encode_id, *ids[0, 1:4].tolist(), words.end_id]
    assert processor.tokenizer.decode(spoken, skip_special_tokens=True) == words.decode(spoken)


def test_the_whole_model_keeps_its_towers_and_says_what_it_loses(tmp_path: Path) -> None:
    model = theirs(BlipModel, tmp_path / "theirs")
    learner, done = imported_again(tmp_path / "theirs", tmp_path)
    assert list(learner.heads) == ["itc"]
    assert done.takeover.left_over == ("text_model.pooler.dense.bias", "text_model.pooler.dense.weight")
    assert "second LayerNorm" in done.notes[0]
    images, texts = learner.model.encode_images(batch().images), learner.model.encode_texts(batch().texts)
    with torch.no_grad():
        embeds = model.vision_model(batch().images).last_hidden_state
        states = model.text_model(texts.ids, attention_mask=texts.mask.long(), is_decoder=False)[0]
        found = learner.model.text_transformer.encode(texts.ids, texts.mask)
    torch.testing.assert_close(images.embeds, embeds, **CLOSE)
    torch.testing.assert_close(found[texts.mask], states[texts.mask], **CLOSE)
    assert learner.model.temperature.item() == pytest.approx(1 / model.logit_scale.exp().item(), rel=1e-6)


def test_another_epsilon_is_said(tmp_path: Path) -> None:
    theirs(BlipForImageTextRetrieval, tmp_path / "theirs", layer_norm_eps=1e-5)
    _, done = imported_again(tmp_path / "theirs", tmp_path)
    assert "LayerNorm epsilon of 1e-05" in done.notes[0]
