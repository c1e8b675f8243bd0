"""What importers read from a checkpoint, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmtk_blip.weights.exporters import BlipExporter, TransformersExporter
from mmtk_blip.weights.importers import BlipImporter, TransformersImporter
from torch import Tensor
from transformers import BertTokenizer

from mmtk.api import CheckpointError, MmtkError

from .learners import VOCAB, Sizes, imported_again, small_learner, source_of, vocab_file

HEADS = {"heads": 2, "image_heads": 2}


@pytest.fixture
def public(tmp_path: Path) -> Path:
    BlipExporter()(source_of(small_learner()), tmp_path / "blip.pth")
    vocab_file(tmp_path)
    return tmp_path / "blip.pth"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TransformersExporter(task="retrieval")(source_of(small_learner()), tmp_path / "blip")
    return tmp_path / "blip"


def tensors(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["model"]


def importer(path: Path, **options) -> BlipImporter:
    return BlipImporter(vocab=path.parent / "vocab.txt", **(HEADS | options))


def test_sizes_are_read_from_shapes(tmp_path: Path) -> None:
    sizes = Sizes(
        width=128,
        depth=3,
        heads=2,
        hidden_width=20,
        max_positions=12,
        image_width=192,
        image_depth=2,
        image_heads=3,
        patch_size=8,
        grid=3,
        embed_dim=6,
    )
    learner = small_learner(sizes=sizes)
    BlipExporter()(source_of(learner), tmp_path / "blip.pth")
    found = BlipImporter(vocab=vocab_file(tmp_path))(tmp_path / "blip.pth")
    assert found.model["image_encoder"] == {
        "use": "timm_vit",
        "image_size": 24,
        "patch_size": 8,
        "width": 192,
        "depth": 2,
        "heads": 3,
        "mlp_ratio": 4.0,
    }
    assert found.model["text_encoder"] == {
        "use": "med_bert",
        "width": 128,
        "depth": 3,
        "heads": 2,
        "hidden_width": 20,
        "max_positions": 12,
        "sharing": "all_but_sa",
        "decoder_reads": "image",
    }
    assert found.model["tokenizer"]["max_length"] == 12
    assert found.model["embed_dim"] == 6
    assert found.model["temperature"] == pytest.approx(0.05)
    assert found.heads == {"itc": {"use": "itc"}, "itm": {"use": "itm"}, "lm": {"use": "lm"}}


def test_what_is_accepted(public: Path, folder: Path, tmp_path: Path) -> None:
    assert BlipImporter().accepts(public)
    assert not BlipImporter().accepts(folder)
    assert TransformersImporter().accepts(folder)
    assert not TransformersImporter().accepts(public)
    for source in (tmp_path, tmp_path / "gone", tmp_path / "vocab.txt"):
        assert not BlipImporter().accepts(source)
        assert not TransformersImporter().accepts(source)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert not TransformersImporter().accepts(tmp_path)


def test_pictures_of_another_size(public: Path, tmp_path: Path) -> None:
    learner, done = imported_again(
        public, tmp_path, vocab=tmp_path / "vocab.txt", image_size=64, heads=2, image_heads=2
    )
    assert not done.takeover.fresh
    assert learner.model.image_encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 17, 24)
    with pytest.raises(CheckpointError, match="image_size 40 is no multiple of the patch size 16"):
        importer(public, image_size=40)(public)


def test_untied_layers_give_an_untied_learner(public: Path, tmp_path: Path) -> None:
    found = tensors(public)
    found["text_decoder.bert.encoder.layer.1.output.dense.bias"] = torch.ones(16)
    torch.save(found, tmp_path / "untied.pth")
    learner, done = imported_again(tmp_path / "untied.pth", tmp_path, vocab=tmp_path / "vocab.txt", **HEADS)
    assert learner.model.text_transformer.sharing == "none"
    assert not done.takeover.fresh
    assert learner.model.text_transformer.decoder_feed_forward[1].contract.bias.eq(1).all()
    assert not learner.model.text_transformer.feed_forward[1].contract.bias.eq(1).any()


def test_an_unknown_part_is_left_over(public: Path, tmp_path: Path) -> None:
    found = tensors(public)
    torch.save(found | {"text_encoder.encoder.layer.0.adapter.weight": torch.ones(1)}, tmp_path / "more.pth")
    left_over = importer(public)(tmp_path / "more.pth").weights.left_over
    assert "text_encoder.encoder.layer.0.adapter.weight" in left_over


def test_a_vocabulary_is_required(public: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no vocabulary; give vocab, the vocab\.txt"):
        BlipImporter()(public)


def test_another_vocabulary_is_refused(public: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("\n".join([*VOCAB, "more"]))
    message = f"has {len(VOCAB) + 3} tokens with .* word embeddings for {len(VOCAB) + 2}"
    with pytest.raises(CheckpointError, match=message):
        BlipImporter(vocab=tmp_path / "other.txt", **HEADS)(public)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("visual_encoder.pos_embed", None, r"no BLIP checkpoint: it lacks visual_encoder\.pos_embed"),
        ("visual_encoder.pos_embed", lambda one: one[:, :4], "4 positions aren't one and a square"),
        ("visual_encoder.pos_embed", lambda one: one[0], "shape .5, 24.; expected 3 dimensions"),
        ("text_encoder.embeddings.word_embeddings.weight", None, "lacks text_encoder.embeddings.word"),
        (
            "text_decoder.cls.predictions.decoder.weight",
            lambda one: one + 1,
            "predicts words by weights of their own",
        ),
    ],
)
def test_what_is_no_blip(public: Path, tmp_path: Path, name: str, change, message: str) -> None:
    found = tensors(public)
    found = found | {name: change(found[name])} if change else {n: t for n, t in found.items() if n != name}
    torch.save(found, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        importer(public)(tmp_path / "other.pth")
    assert str(caught.value).startswith(str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": None}, "the width 16 is no multiple of 64, BLIP's width of a head; give heads"),
        ({"image_heads": None}, "give image_heads"),
        ({"heads": 5}, "heads: 5 heads don't divide the width 16"),
    ],
)
def test_heads(public: Path, options: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        importer(public, **options)(public)


def test_a_folder_with_a_tokenizer_json(folder: Path, tmp_path: Path) -> None:
    tokenizer = BertTokenizer.from_pretrained(folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"neither vocab\.txt nor tokenizer\.json"):
        TransformersImporter()(folder)
    tokenizer.save_pretrained(folder)
    assert not (folder / "vocab.txt").exists()
    learner, _ = imported_again(folder, tmp_path)
    assert learner.model.tokenizer.vocabulary == [*VOCAB, "[DEC]", "[ENC]"]


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"model": {"vocab": {"[PAD]": 5}, "continuing_subword_prefix": "##"}}']
)
def test_a_broken_tokenizer_json(folder: Path, content: str) -> None:
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(MmtkError, match="no WordPiece tokenizer"):
        TransformersImporter()(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; expected 'blip'"),
        ({"text_config": {"hidden_act": "relu"}}, r"text_config\.hidden_act is 'relu'"),
        ({"vision_config": {"hidden_size": "wide"}}, "no config of BLIP"),
    ],
)
def test_another_config_is_refused(folder: Path, change: dict, message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=message):
        TransformersImporter()(folder)


def test_another_start_token_is_said(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["bos_token_id"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    notes = TransformersImporter()(folder).notes
    assert any("starts captions with token 1; mmtk with [DEC]" in note for note in notes)


def test_tied_tensors_under_their_second_names(tmp_path: Path) -> None:
    learner = small_learner(heads=("lm",))
    BlipExporter()(source_of(learner), tmp_path / "blip.pth")
    found = tensors(tmp_path / "blip.pth")
    del found["text_decoder.cls.predictions.bias"]
    del found["text_decoder.bert.embeddings.word_embeddings.weight"]
    torch.save(found, tmp_path / "once.pth")
    vocab = vocab_file(tmp_path)
    again, done = imported_again(tmp_path / "once.pth", tmp_path, vocab=vocab, **HEADS)
    state, expected = again.state_dict(), learner.state_dict()
    for name in ("heads.lm.prediction.bias", "model.text_transformer.embeddings.word.weight"):
        assert torch.equal(state[name], expected[name])
    assert not any("heads" in name for name in done.takeover.fresh)


def test_a_checkpoint_without_heads_gives_a_learner_without(public: Path, tmp_path: Path) -> None:
    towers = ("visual_encoder.", "text_encoder.")
    found = {name: tensor for name, tensor in tensors(public).items() if name.startswith(towers)}
    torch.save(found | {"cls_head.0.weight": torch.ones(1)}, tmp_path / "base.pth")
    learner, done = imported_again(tmp_path / "base.pth", tmp_path, vocab=tmp_path / "vocab.txt", **HEADS)
    assert not learner.heads
    assert "the learner has no head" in done.notes[0]
    assert "cls_head.0.weight" in done.takeover.left_over


def test_the_longest_text_is_the_layouts_or_as_asked(public: Path) -> None:
    positions = len(tensors(public)["text_encoder.embeddings.position_embeddings.weight"])
    found = importer(public)(public)
    assert found.model["tokenizer"]["max_length"] == min(30, positions)
    assert importer(public, max_length=7)(public).model["tokenizer"]["max_length"] == 7
    asked_for_more = importer(public, max_length=positions + 1)(public)
    assert asked_for_more.model["tokenizer"]["max_length"] == positions
    assert any("no more positions" in note for note in asked_for_more.notes)


def test_names_of_layers_without_the_layers_are_refused(public: Path) -> None:
    found = tensors(public)
    found["visual_encoder.blocks.99999999.norm1.weight"] = torch.zeros(3)
    torch.save({"model": found}, public)
    with pytest.raises(CheckpointError, match="up to number 99999999"):
        importer(public)(public)


def test_another_programs_logit_scale_is_refused(public: Path) -> None:
    torch.save({"vision_model.x": torch.zeros(2), "logit_scale": torch.zeros(())}, public)
    with pytest.raises(CheckpointError, match="lacks vision_proj"):
        importer(public)(public)


def test_a_temperature_of_several_numbers_is_refused(public: Path) -> None:
    torch.save({"model": tensors(public) | {"temp": torch.zeros(2)}}, public)
    with pytest.raises(CheckpointError, match="expected a single number"):
        importer(public)(public)
