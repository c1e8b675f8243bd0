"""Models that answer questions, in and out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmtk_blip.heads.vqa import VqaHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import LabelSmoothing
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import TextTransformer, first_token_replaced
from mmtk_blip.tokenizer import WordPiece
from mmtk_blip.weights.exporters import BlipExporter, TransformersExporter
from transformers import BlipForQuestionAnswering

from mmtk.api import CheckpointError
from mmtk.engine.learner import Learner
from mmtk.types import Decoding
from tests.blip.parts import batch, spread_weights

from .learners import VOCAB, assert_equal_tensors, imported_again, small_learner, source_of, vocab_file

SEED = 5  # one with which answers differ
QUESTIONS = ["what red cat", "the big blue dogs on a green car", "owl", "a small house near the tree"]


def asked(image_width: int = 16, seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    words = WordPiece(VOCAB)
    transformer = TextTransformer(
        vocab_size=words.vocab_size,
        image_width=image_width,
        width=16,
        depth=2,
        heads=2,
        hidden_width=32,
        max_positions=40,
        dropout=0.1,
        sharing="none",
        decoder_reads="question",
    )
    vit = timm_vit(image_size=32, patch_size=16, width=image_width, depth=1, heads=2)
    model = Med(image_encoder=vit, text_transformer=transformer, tokenizer=words, embed_dim=8)
    head = VqaHead(text_width=16, vocab_size=words.vocab_size, loss=LabelSmoothing())
    learner = Learner(model, {"vqa": head})
    temperature = model.temperature.detach().clone()
    spread_weights(learner)
    with torch.no_grad():
        model.temperature.copy_(temperature)
    return learner.eval()


def without_projections(learner: Learner) -> dict[str, torch.Tensor]:
    """What a VQA checkpoint holds."""
    return {name: tensor for name, tensor in learner.state_dict().items() if "_projection." not in name}


@pytest.mark.parametrize("layout", ["public", "transformers"])
def test_out_and_in(tmp_path: Path, layout: str) -> None:
    learner = asked()
    if layout == "public":
        BlipExporter()(source_of(learner), tmp_path / "vqa.pth")
        options = {"vocab": vocab_file(tmp_path), "heads": 2, "image_heads": 2}
        found, done = imported_again(tmp_path / "vqa.pth", tmp_path, **options)
    else:
        TransformersExporter()(source_of(learner), tmp_path / "vqa")
        found, done = imported_again(tmp_path / "vqa", tmp_path)
    assert_equal_tensors(without_projections(found), without_projections(learner))
    assert {name.split(".")[1] for name in done.takeover.fresh} == {"image_projection", "text_projection"}
    assert all(name.endswith("position_ids") for name in done.takeover.left_over)
    images = [one.model.encode_images(batch().images) for one in (learner, found)]
    first, second = learner.heads["vqa"], found.heads["vqa"]
    assert first.answer(images[0], QUESTIONS) == second.answer(images[1], QUESTIONS)


def test_public_pictures_may_have_another_width(tmp_path: Path) -> None:
    learner = asked(image_width=24)
    BlipExporter()(source_of(learner), tmp_path / "vqa.pth")
    options = {"vocab": vocab_file(tmp_path), "heads": 2, "image_heads": 2}
    found, _ = imported_again(tmp_path / "vqa.pth", tmp_path, **options)
    assert_equal_tensors(without_projections(found), without_projections(learner))
    with pytest.raises(CheckpointError, match="they differ: 16 and 24"):
        TransformersExporter()(source_of(learner), tmp_path / "vqa")
    assert not (tmp_path / "vqa").exists()


@torch.no_grad()
def test_transformers_answers_the_same(tmp_path: Path) -> None:
    learner = asked(seed=SEED)
    TransformersExporter()(source_of(learner), tmp_path / "vqa")
    model, report = BlipForQuestionAnswering.from_pretrained(tmp_path / "vqa", output_loading_info=True)
    assert not any(report.values())
    model.eval()
    tokenizer, head = learner.model.tokenizer, learner.heads["vqa"]
    decoding = Decoding(beams=1, min_length=1, max_length=10)
    answers = head.answer(learner.model.encode_images(batch().images), QUESTIONS, decoding)
    assert len(set(answers)) > 1
    for index, question in enumerate(QUESTIONS):
        ids, mask = tokenizer([question])
        given = {
            "input_ids": first_token_replaced(ids, tokenizer.encode_id),
            "attention_mask": mask.long(),
            "pixel_values": batch().images[index : index + 1],
        }
        written = model.generate(**given, num_beams=1, min_length=1, max_length=10)[0].tolist()
        assert tokenizer.decode(written) == answers[index]
        images = learner.model.encode_images(given["pixel_values"])
        keys_values, question_mask = head.question_keys_values(images, [question])
        answer, _ = tokenizer(["a red cat"])
        answer = first_token_replaced(answer, tokenizer.decode_id)
        states = learner.model.text_transformer.decode(answer, keys_values, image_mask=question_mask)
        embeds = model.vision_model(given["pixel_values"])[0]
        read = model.text_encoder(
            given["input_ids"], attention_mask=given["attention_mask"], encoder_hidden_states=embeds
        )[0]
        expected = model.text_decoder(answer, encoder_hidden_states=read).logits
        torch.testing.assert_close(head.logits(learner.model, states), expected, rtol=1e-4, atol=1e-5)


def test_several_heads_need_a_task(tmp_path: Path) -> None:
    learner = asked()
    both = Learner(learner.model, {"vqa": learner.heads["vqa"], "itm": small_learner().heads["itm"]})
    with pytest.raises(CheckpointError, match="no layout of public BLIP holds all of retrieval, vqa"):
        BlipExporter()(source_of(both), tmp_path / "both.pth")
    said = TransformersExporter()(source_of(both), tmp_path / "both")
    assert "retrieval/ and vqa/" in said[0]
    card = (tmp_path / "both/vqa/README.md").read_text()
    assert f'inputs["input_ids"][:, 0] = {learner.model.tokenizer.encode_id}  # [ENC]' in card
    assert "num_beams=3, min_length=1, max_length=10" in card
