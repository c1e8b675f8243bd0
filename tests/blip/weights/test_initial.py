"""First weights from timm's vision transformers and from BERT."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from mmtk_blip.position_embeddings import resized
from mmtk_blip.text_transformer import Sharing
from mmtk_blip.weights import initial
from mmtk_blip.weights.configs import BertWeightsConfig, TimmWeightsConfig
from mmtk_blip.weights.initial import BertWeights, TimmWeights
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from mmtk.api import CheckpointError
from mmtk.engine.initialise import take_over
from mmtk.engine.learner import Learner
from tests.blip.parts import batch, spread_weights

from .learners import VOCAB, Sizes, small_learner, vocab_file

VIT = "model.image_encoder.vit."
TEXT = "model.text_transformer."


def vit(grid: int = 2, **options) -> VisionTransformer:
    torch.manual_seed(3)
    made = VisionTransformer(
        img_size=16 * grid, patch_size=16, embed_dim=24, depth=1, num_heads=2, num_classes=5, **options
    )
    return spread_weights(made).eval()


def bert(**changes: object) -> BertForMaskedLM:
    torch.manual_seed(4)
    settings = {
        "vocab_size": len(VOCAB),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
    }
    return spread_weights(BertForMaskedLM(BertConfig(**settings | changes))).eval()


@pytest.mark.parametrize("grid", [2, 4])
def test_a_vit_fills_the_image_encoder(tmp_path: Path, grid: int) -> None:
    theirs = vit(grid)
    torch.save({"model": theirs.state_dict()}, tmp_path / "deit.pth")
    learner = small_learner(seed=1)
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    done = take_over(learner, TimmWeights(path=tmp_path / "deit.pth")(learner), "deit")
    assert set(done.left_over) == {"head.weight", "head.bias"}
    assert not done.misshapen
    state, given = learner.state_dict(), theirs.state_dict()
    for name, tensor in state.items():
        own = given.get(name.removeprefix(VIT)) if name.startswith(VIT) else before[name]
        expected = resized(own, 4) if name.endswith("pos_embed") else own
        assert torch.equal(tensor, expected), name
    if grid == 2:
        with torch.no_grad():
            expected = theirs.forward_features(batch().images)
            torch.testing.assert_close(learner.model.image_encoder(batch().images), expected)


def test_a_distilled_deit_gives_up_its_second_token(tmp_path: Path) -> None:
    theirs = vit().state_dict()
    second = torch.full((1, 1, 24), 9.0)
    positions = theirs["pos_embed"]
    theirs |= {"dist_token": second, "pos_embed": torch.cat((positions[:, :1], second, positions[:, 1:]), 1)}
    torch.save(theirs, tmp_path / "distilled.pth")
    found = TimmWeights(path=tmp_path / "distilled.pth")(small_learner())
    assert torch.equal(found.tensors[VIT + "pos_embed"], positions)
    assert "dist_token" in found.left_over


def test_pooled_and_classified_by_others_is_left_over(tmp_path: Path) -> None:
    torch.save(vit(fc_norm=True).state_dict(), tmp_path / "vit.pth")
    found = TimmWeights(path=tmp_path / "vit.pth")(small_learner())
    assert set(found.left_over) == {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}


def test_what_is_no_vit(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
    source = TimmWeights(path=tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="no vision transformer with a class token"):
        source(small_learner())
    learner = small_learner()
    learner.model.image_encoder = nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match="fit the image encoder 'timm_vit', and this one is Linear"):
        source(learner)


def test_timm_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="timm has no network 'deit_bas_patch16_224'"):
        TimmWeights(name="deit_bas_patch16_224")(small_learner())
    with pytest.raises(CheckpointError, match="no pretrained weights for 'vit_small_patch16_18x2_224'"):
        TimmWeights(name="vit_small_patch16_18x2_224")(small_learner())
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: vit())
    found = TimmWeights(name="deit_base_patch16_224")(small_learner())
    assert torch.equal(found.tensors[VIT + "cls_token"], vit().state_dict()["cls_token"])

    def offline(*_: object, **__: object) -> None:
        raise OSError("no connection\nat all")

    monkeypatch.setattr(timm, "create_model", offline)
    message = r"'deit_base_patch16_224' can't be fetched \(no connection\); without a network, give path"
    with pytest.raises(CheckpointError, match=message):
        TimmWeights(name="deit_base_patch16_224")(small_learner())


def fill_with_bert(learner: Learner, folder: Path, model: BertForMaskedLM) -> None:
    model.save_pretrained(folder)
    vocab_file(folder)
    done = take_over(learner, BertWeights(path=folder)(learner), "bert")
    assert not done.misshapen
    assert "bert.embeddings.token_type_embeddings.weight" in done.left_over
    fresh = {name for name in done.fresh if name.startswith(TEXT)}
    assert fresh
    assert all("cross_attention" in name for name in fresh)


@pytest.mark.parametrize("sharing", ["all", "all_but_sa", "all_but_ca", "none"])
@torch.no_grad()
def test_bert_encodes_and_predicts_as_before(tmp_path: Path, sharing: Sharing) -> None:
    model = bert()
    # MED has no segments, so BERT without them is what it must agree with.
    model.bert.embeddings.token_type_embeddings.weight.zero_()
    learner = small_learner(sharing, seed=1)
    rows = learner.model.text_transformer.embeddings.word.weight[len(VOCAB) :].clone()
    bias = learner.heads["lm"].prediction.bias[len(VOCAB) :].clone()
    fill_with_bert(learner, tmp_path, model)
    ids, mask = learner.model.tokenizer(batch().texts)
    states = learner.model.text_transformer.encode(ids, mask)
    expected = model.bert(ids, attention_mask=mask.long())[0]
    torch.testing.assert_close(states[mask], expected[mask], rtol=1e-4, atol=1e-5)
    logits = learner.heads["lm"].logits(learner.model, states)[..., : len(VOCAB)]
    expected = model(ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(logits[mask], expected[mask], rtol=1e-4, atol=1e-5)
    assert torch.equal(learner.model.text_transformer.embeddings.word.weight[len(VOCAB) :], rows)
    assert torch.equal(learner.heads["lm"].prediction.bias[len(VOCAB) :], bias)
    state = learner.state_dict()
    for name in state:
        if name.startswith(f"{TEXT}decoder_self_attention"):
            assert torch.equal(state[name], state[name.replace("decoder_", "")])


def test_old_names_and_positions_of_another_number(tmp_path: Path) -> None:
    def old(name: str) -> str:
        if "LayerNorm" not in name:
            return name
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    model = bert(max_position_embeddings=50)
    tensors: dict[str, Tensor] = {old(name): tensor for name, tensor in model.state_dict().items()}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    learner = small_learner(seed=1)
    take_over(learner, BertWeights(path=tmp_path / "pytorch_model.bin")(learner), "bert")
    embeddings = learner.model.text_transformer.embeddings
    assert torch.equal(embeddings.position.weight, model.bert.embeddings.position_embeddings.weight[:40])
    assert torch.equal(embeddings.norm.weight, model.bert.embeddings.LayerNorm.weight)
    longer = small_learner(sizes=Sizes(max_positions=60), seed=1)
    last = longer.model.text_transformer.embeddings.position.weight[50:].clone()
    take_over(longer, BertWeights(path=tmp_path / "pytorch_model.bin")(longer), "bert")
    positions = longer.model.text_transformer.embeddings.position.weight
    assert torch.equal(positions[:50], model.bert.embeddings.position_embeddings.weight)
    assert torch.equal(positions[50:], last)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join([*VOCAB[:-1], "other"]))
    with pytest.raises(CheckpointError, match="isn't the beginning of the learner's"):
        BertWeights(path=tmp_path)(small_learner())
    bert(vocab_size=len(VOCAB) + 9).save_pretrained(tmp_path / "larger")
    with pytest.raises(CheckpointError, match=f"BERT's vocabulary of {len(VOCAB) + 9} tokens"):
        BertWeights(path=tmp_path / "larger")(small_learner())
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no BERT: it lacks embeddings"):
        BertWeights(path=tmp_path / "other.pth")(small_learner())


def test_bert_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bert().save_pretrained(tmp_path)
    monkeypatch.setattr(initial, "cached_file", lambda _, file, **__: str(tmp_path / file))
    found = BertWeights(name="bert-base-uncased")(small_learner())
    assert len(found.tensors) > 40

    def offline(*_: object, **__: object) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(initial, "cached_file", offline)
    message = r"BERT's weights 'bert-base-uncased' can't be fetched \(no connection\); without a network"
    with pytest.raises(CheckpointError, match=message):
        BertWeights(name="bert-base-uncased")(small_learner())


@pytest.mark.parametrize("config", [TimmWeightsConfig, BertWeightsConfig])
def test_name_or_path(config) -> None:
    assert list(config().check()) == list(config(name="a", path=Path("b")).check()) != []
    assert not list(config(name="a").check())
    assert not list(config(path=Path("b")).check())
