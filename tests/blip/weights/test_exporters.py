"""What exporters write beside tensors, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.text_transformer import Sharing
from mmtk_blip.weights.exporters import BlipExporter, TransformersExporter
from torch import nn

from mmtk.api import CheckpointError
from mmtk.engine.learner import Learner

from .learners import small_learner, source_of

EXPORTERS = (BlipExporter, TransformersExporter)


def public(learner: Learner, folder: Path, **options) -> dict[str, torch.Tensor]:
    BlipExporter(**options)(source_of(learner), folder / "blip.pth")
    return torch.load(folder / "blip.pth", weights_only=True)["model"]


def beginnings(names: dict[str, torch.Tensor]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("task", "heads", "expected"),
    [
        ("auto", ("lm",), {"visual_encoder", "text_decoder"}),
        (
            "auto",
            ("itm",),
            {
                "visual_encoder",
                "text_encoder",
                "vision_proj",
                "text_proj",
                "itm_head",
                "temp",
                "visual_encoder_m",
                "text_encoder_m",
                "vision_proj_m",
                "text_proj_m",
            },
        ),
        ("caption", ("itm", "lm"), {"visual_encoder", "text_decoder"}),
    ],
)
def test_the_public_layouts(tmp_path: Path, task: str, heads: tuple[str, ...], expected: set[str]) -> None:
    assert beginnings(public(small_learner(heads=heads), tmp_path, task=task)) == expected


def test_public_pretraining_has_both_sides_and_momentum_copies(tmp_path: Path) -> None:
    found = public(small_learner(), tmp_path)
    words = found["text_encoder.embeddings.word_embeddings.weight"]
    for other in (
        "text_encoder_m.embeddings.word_embeddings.weight",
        "text_decoder.bert.embeddings.word_embeddings.weight",
        "text_decoder.cls.predictions.decoder.weight",
    ):
        assert torch.equal(found[other], words)
    query = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(found[f"text_encoder.{query}"], found[f"text_decoder.bert.{query}"])
    assert found["text_decoder.bert.embeddings.position_ids"].tolist() == [list(range(40))]


@pytest.mark.parametrize("sharing", ["none", "all_but_ca"])
def test_public_pretraining_cannot_be_untied(tmp_path: Path, sharing: Sharing) -> None:
    with pytest.raises(CheckpointError, match=f"sharing '{sharing}': .* task=caption and task=retrieval"):
        BlipExporter()(source_of(small_learner(sharing)), tmp_path / "blip.pth")
    assert not (tmp_path / "blip.pth").exists()
    assert BlipExporter(task="caption")(source_of(small_learner(sharing)), tmp_path / "blip.pth") == ()


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize(
    ("heads", "options", "message"),
    [
        (("itc",), {}, "no LM, ITM or VQA head"),
        (("itm",), {"task": "caption"}, "task 'caption' needs an LM head"),
        (("lm",), {"task": "retrieval"}, "task 'retrieval' needs an ITM head"),
    ],
)
def test_a_missing_head(tmp_path: Path, exporter, heads: tuple[str], options: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        exporter(**options)(source_of(small_learner(heads=heads)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_what_blip_has_no_place_for(tmp_path: Path, exporter) -> None:
    def refused(learner: Learner, message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            exporter()(source_of(learner), tmp_path / "out")

    learner = small_learner()
    learner.model.image_encoder = timm_vit(
        image_size=32, patch_size=16, width=24, depth=1, heads=2, stem="conv"
    )
    refused(learner, "embeds patches by one linear map, and this one by ConvStem")
    learner.model.image_encoder = nn.Linear(3, 24)
    refused(learner, r"a plain ViT \(timm_vit\), and this learner's is Linear")
    learner = small_learner()
    learner.model.image_encoder.vit.blocks[0].ls1 = nn.Linear(1, 1)
    refused(learner, r"no blocks\.0\.ls1\.weight")
    learner = small_learner()
    learner.heads["lm"].prediction.more = nn.Linear(2, 2)
    refused(learner, r"heads\.lm\.prediction\.more\.weight: BLIP's public layout has no place")
    learner = small_learner()
    learner.model.text_transformer = nn.Linear(2, 2)
    refused(learner, "text model is 'med_bert', and this learner's is Linear")
    refused(Learner(nn.Linear(2, 2), {}), "writes the model 'med', and this is Linear")
    learner = small_learner()
    learner.heads["second"] = learner.heads["lm"]
    refused(learner, r"2 LM heads \(lm, second\)")


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_another_head_is_left_out_and_named(tmp_path: Path, exporter) -> None:
    learner = small_learner(heads=("lm",))
    learner.heads["more"] = nn.Linear(2, 2)
    said = exporter()(source_of(learner), tmp_path / "out")
    assert "left out, BLIP's layouts have no place for them: heads more" in said


def test_config_says_what_was_trained(tmp_path: Path) -> None:
    learner = small_learner()
    TransformersExporter(task="caption")(source_of(learner), tmp_path / "blip")
    config = json.loads((tmp_path / "blip/config.json").read_text())
    text, vision, words = config["text_config"], config["vision_config"], learner.model.tokenizer
    assert config["architectures"] == ["BlipForConditionalGeneration"]
    assert text["num_attention_heads"] == 2
    assert text["hidden_dropout_prob"] == text["attention_probs_dropout_prob"] == 0.1
    assert text["label_smoothing"] == config["label_smoothing"] == 0.2
    assert text["layer_norm_eps"] == 1e-12
    assert vision["layer_norm_eps"] == 1e-6
    assert (text["bos_token_id"], text["eos_token_id"]) == (words.decode_id, words.end_id)
    generation = json.loads((tmp_path / "blip/generation_config.json").read_text())
    assert (generation["min_length"], generation["max_length"], generation["num_beams"]) == (5, 20, 3)


def test_the_model_card(tmp_path: Path) -> None:
    learner = small_learner()
    TransformersExporter()(
        source_of(
            learner,
            name="emoji",
            recipe="seed: 1\ntext: '```'\n",
            metrics={"test": {"retrieval/t2i_r1": 0.25}},
        ),
        tmp_path / "blip",
    )
    card = (tmp_path / "blip/retrieval/README.md").read_text()
    encode = learner.model.tokenizer.encode_id
    assert "# emoji" in card
    assert f'matching["input_ids"][:, 0] = {encode}  # [ENC]' in card
    assert "| test | retrieval/t2i_r1 | 0.25 |" in card
    assert "````yaml\nseed: 1\ntext: '```'\n````" in card
    assert "num_beams=3, min_length=5, max_length=20" in (tmp_path / "blip/caption/README.md").read_text()


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("mmtk_blip.weights.exporters.write_processor", fail)
    with pytest.raises(OSError, match="full"):
        TransformersExporter()(source_of(small_learner()), tmp_path / "blip")
    assert not list(tmp_path.iterdir())
