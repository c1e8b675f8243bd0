"""The arithmetic agrees with the public BLIP implementation (tests/golden/README.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mmtk_blip.heads.itc import ItcHead
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.heads.lm import LmHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import CrossEntropy, LabelSmoothing, SoftContrastive
from mmtk_blip.med import Med
from mmtk_blip.text_transformer import TextTransformer, first_token_replaced
from mmtk_blip.tokenizer import wordpiece
from mmtk_blip.weights.names import BERT, ENCODER, TOWERS
from mmtk_blip.weights.public import Heads, weights_for
from mmtk_momentum.ema import MomentumEncoder
from safetensors.torch import load_file
from torch import Tensor, nn

from mmtk.engine.learner import Learner
from mmtk.types import Batch, Decoding, HeadOutput, StepState

from .parts import fixed_negatives

GOLDEN = Path(__file__).parents[1] / "golden"
MOMENTUM_WORDS = "text_encoder_m.embeddings.word_embeddings.weight"
PROMPT = "a picture of "


@dataclass
class Golden:
    learner: Learner
    momentum: MomentumEncoder
    batch: Batch
    tensors: dict[str, Tensor]
    facts: dict
    outputs: dict[str, HeadOutput]

    @property
    def model(self) -> Med:
        return self.learner.model


@pytest.fixture(scope="module")
def golden() -> Golden:
    weights = {
        name: _as_float32(tensor) for name, tensor in load_file(GOLDEN / "blip_tiny.safetensors").items()
    }
    tensors = load_file(GOLDEN / "blip_tiny_expected.safetensors")
    facts = json.loads((GOLDEN / "blip_tiny_expected.json").read_text(encoding="utf-8"))
    learner = _learner(facts)
    _load_online(learner, weights)
    count = len(facts["captions"])
    batch = Batch(
        tensors["image"], tuple(facts["captions"]), torch.arange(count), tuple(map(str, range(count)))
    )
    momentum = _momentum(learner.model, weights)
    learner.eval()
    state = StepState(0, 2.0, 1, 0)
    momentum.before_step(state)
    context = learner.model.context(batch, state, momentum)
    outputs = {name: head(context) for name, head in learner.heads.items()}
    torch.stack([output.loss for output in outputs.values()]).sum().backward()
    momentum.after_step([context])
    return Golden(learner, momentum, batch, tensors, facts, outputs)


def _learner(facts: dict) -> Learner:
    words = wordpiece(vocab=GOLDEN / "vocab.txt", max_length=30)
    model = Med(
        image_encoder=timm_vit(image_size=64, patch_size=16, width=64, depth=2, heads=4),
        text_transformer=TextTransformer(
            vocab_size=words.vocab_size,
            image_width=64,
            width=48,
            depth=2,
            heads=4,
            hidden_width=96,
            max_positions=64,
        ),
        tokenizer=words,
        embed_dim=32,
    )
    negatives = (torch.tensor(facts[name]) for name in ("neg_image_for_text", "neg_text_for_image"))
    heads: dict[str, nn.Module] = {
        "itc": ItcHead(loss=SoftContrastive(), alpha=facts["alpha"], ramp_epochs=2.0),
        "itm": ItmHead(text_width=48, loss=CrossEntropy(), negatives=fixed_negatives(*negatives)),
        "lm": LmHead(text_width=48, vocab_size=words.vocab_size, loss=LabelSmoothing(0.1)),
    }
    return Learner(model, heads)


def _load_online(learner: Learner, weights: dict[str, Tensor]) -> None:
    learner.load_state_dict(_by_our_names(weights))


def _by_our_names(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(weights_for(found, "all_but_sa", Heads(itm=("itm",), lm=("lm",))).tensors)


def _momentum(model: Med, weights: dict[str, Tensor]) -> MomentumEncoder:
    """The momentum encoder with the public checkpoint's momentum towers and full queue."""
    momentum = MomentumEncoder(model=model, momentum=0.995, queue_size=24)
    names = {name for name in weights if "_m." in name and not name.endswith(".rows")}
    found = {_towers_name(name): weights[name] for name in names - {MOMENTUM_WORDS}}
    words = torch.zeros_like(model.text_transformer.embeddings.word.weight)
    words[weights[MOMENTUM_WORDS + ".rows"].long()] = weights[MOMENTUM_WORDS]
    momentum.twin.load_state_dict(found | {_towers_name(MOMENTUM_WORDS): words})
    no_id = torch.full((24,), -1)
    momentum.queue.push(weights["image_queue"].t(), weights["text_queue"].t(), no_id, no_id)
    return momentum


def _towers_name(momentum: str) -> str:
    """Name in the feature towers' state dict of the momentum tensor ``momentum``."""
    online = momentum.replace("_m.", ".", 1)
    if online.startswith(ENCODER):
        return f"text_encoder.{BERT.ours(online.removeprefix(ENCODER))}"
    return str(TOWERS.ours(online))


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def test_token_ids(golden: Golden) -> None:
    ids, mask = golden.model.tokenizer(golden.batch.texts)
    longest = ids.shape[1]
    assert torch.equal(ids, golden.tensors["input_ids"][:, :longest])
    assert torch.equal(mask, golden.tensors["attention_mask"][:, :longest].bool())
    assert not golden.tensors["attention_mask"][:, longest:].any()
    assert golden.model.tokenizer.decode_id == golden.facts["special"]["bos"]
    assert golden.model.tokenizer.encode_id == golden.facts["special"]["enc"]
    assert golden.model.tokenizer.vocab_size == golden.facts["special"]["len"]


def test_embeddings_and_features(golden: Golden) -> None:
    images, texts = (
        golden.model.encode_images(golden.batch.images),
        golden.model.encode_texts(golden.batch.texts),
    )
    torch.testing.assert_close(images.embeds, golden.tensors["image_embeds"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(images.features, golden.tensors["image_feat"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(texts.features, golden.tensors["text_feat"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", ["itc", "itm", "lm"])
def test_losses(golden: Golden, head: str) -> None:
    assert golden.outputs[head].loss.item() == pytest.approx(golden.facts[f"loss_{head}"], rel=1e-5)


def test_match_logits(golden: Golden) -> None:
    images, texts = (
        golden.model.encode_images(golden.batch.images),
        golden.model.encode_texts(golden.batch.texts),
    )
    own = torch.arange(len(golden.batch))
    image_index = torch.cat((own, torch.tensor(golden.facts["neg_image_for_text"]), own))
    text_index = torch.cat((own, own, torch.tensor(golden.facts["neg_text_for_image"])))
    logits = golden.learner.heads["itm"].match_logits(images.select(image_index), texts.select(text_index))
    torch.testing.assert_close(logits, golden.tensors["itm_logits"], rtol=1e-4, atol=1e-5)


def test_gradient_norms(golden: Golden) -> None:
    parameters = dict(golden.learner.named_parameters())
    norms = golden.facts["grad_norms"].items()
    named = _by_our_names({name: torch.tensor(norm, dtype=torch.float64) for name, norm in norms})
    expected = {name: norm.item() for name, norm in named.items()}
    assert set(expected) == set(parameters)
    found = {name: parameters[name].grad.norm().item() for name in expected}
    # A key's bias adds the same to all scores of a query, so its true gradient is zero.
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert parameters["model.temperature"].grad.item() == pytest.approx(golden.facts["grad_temp"], rel=1e-4)


def test_momentum_state(golden: Golden) -> None:
    twin = golden.momentum.twin
    torch.testing.assert_close(twin.image_projection.weight, golden.tensors["momentum_proj_after"])
    images, _, image_ids, text_ids = golden.momentum.queue.contents()
    # The queue was stored as float16.
    torch.testing.assert_close(images, golden.tensors["image_queue_after"].float().t(), rtol=1e-3, atol=1e-4)
    pushed = golden.facts["queue_ptr_after"]
    assert image_ids.tolist() == [*range(pushed), *[-1] * (24 - pushed)]
    assert torch.equal(text_ids[:pushed], golden.batch.text_ids)


def test_vocabulary_logits(golden: Golden) -> None:
    images, texts = (
        golden.model.encode_images(golden.batch.images),
        golden.model.encode_texts(golden.batch.texts),
    )
    ids = first_token_replaced(texts.ids, golden.model.tokenizer.decode_id)
    states = golden.model.text_transformer.decode(ids, images.keys_values("decoder"))
    logits = golden.learner.heads["lm"].logits(golden.model, states)[:, :, ::997]
    expected = golden.tensors["lm_logits_sample"][:, : ids.shape[1]]
    torch.testing.assert_close(logits[texts.mask], expected[texts.mask], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_captions(golden: Golden, beams: int) -> None:
    head, tokenizer = golden.learner.heads["lm"], golden.model.tokenizer
    decoding = Decoding(method="beam", beams=beams, prompt=PROMPT, min_length=5, max_length=20)
    images = golden.model.encode_images(golden.batch.images)
    written = [tokenizer.decode(ids) for ids in head.generate_ids(images, decoding)]
    assert [text[len(PROMPT) :] for text in written] == golden.facts[f"beam{beams}"]
    # Where a caption goes on with the prompt's last word, cutting by characters loses one.
    assert all(
        text.endswith(caption) for text, caption in zip(written, head.generate(images, decoding), strict=True)
    )
