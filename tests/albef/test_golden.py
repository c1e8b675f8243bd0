"""The arithmetic agrees with the public ALBEF implementation (tests/albef/golden/README.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mmtk_albef.masking import Masked
from mmtk_albef.mlm import MlmHead
from mmtk_albef.model import Albef
from mmtk_albef.text_transformer import AlbefBert
from mmtk_blip.heads.itc import ItcHead
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import CrossEntropy, SoftContrastive
from mmtk_blip.tokenizer import wordpiece
from mmtk_momentum.ema import MomentumEncoder
from safetensors.torch import load_file
from torch import Tensor, nn

from mmtk.engine.learner import Learner
from mmtk.types import Batch, HeadOutput, Negatives, StepState

from .public_names import TEXT_DEPTH, learner_name

GOLDEN = Path(__file__).parent / "golden"
QUEUE = 24
SEGMENTS = "text_encoder.bert.embeddings.token_type_embeddings.weight"
POSITIONS = "text_encoder.bert.embeddings.position_embeddings.weight"
MOMENTUM_SHARE = 0.75  # the momentum model's weights over the online ones


class FixedMlm(MlmHead):
    """Masks what the public implementation masked."""

    fixed: Masked

    def masked(self, context: Any) -> Masked:  # noqa: ARG002
        return self.fixed


@dataclass
class Golden:
    learner: Learner
    momentum: MomentumEncoder
    batch: Batch
    context: Any
    tensors: dict[str, Tensor]
    facts: dict
    outputs: dict[str, HeadOutput]

    @property
    def model(self) -> Albef:
        return self.learner.model

    @property
    def mlm(self) -> FixedMlm:
        return self.learner.heads["mlm"]


@pytest.fixture(scope="module")
def golden() -> Golden:
    weights = {name: tensor.float() for name, tensor in load_file(GOLDEN / "albef_tiny.safetensors").items()}
    tensors = load_file(GOLDEN / "albef_tiny_expected.safetensors")
    facts = json.loads((GOLDEN / "albef_tiny_expected.json").read_text(encoding="utf-8"))
    learner = _learner(facts, tensors)
    queues = weights.pop("image_queue").t(), weights.pop("text_queue").t()
    weights[POSITIONS] += weights.pop(SEGMENTS)[0]
    learner.load_state_dict({learner_name(name): tensor for name, tensor in weights.items()})
    momentum = _momentum(learner.model, *queues)
    learner.eval()
    count = len(facts["captions"])
    batch = Batch(
        tensors["images"].float(),
        tuple(facts["captions"]),
        torch.arange(count),
        tuple(map(str, range(count))),
    )
    state = StepState(0, 1.0, 1, 0)
    momentum.before_step(state)
    context = learner.model.context(batch, state, momentum)
    outputs = {name: head(context) for name, head in learner.heads.items()}
    torch.stack([output.loss for output in outputs.values()]).sum().backward()
    momentum.after_step([context])
    return Golden(learner, momentum, batch, context, tensors, facts, outputs)


def _learner(facts: dict, tensors: dict[str, Tensor]) -> Learner:
    words = wordpiece(vocab=GOLDEN / "vocab.txt", max_length=25)
    model = Albef(
        image_encoder=timm_vit(image_size=64, patch_size=16, width=64, depth=2, heads=4),
        text_transformer=AlbefBert(
            vocab_size=words.vocab_size,
            image_width=64,
            width=48,
            text_depth=TEXT_DEPTH,
            fusion_depth=2,
            heads=4,
            hidden_width=96,
            max_positions=32,
        ),
        tokenizer=words,
        embed_dim=32,
    )
    drawn = Negatives(*(torch.tensor(facts[name]) for name in ("neg_image_for_text", "neg_text_for_image")))
    mlm = FixedMlm(loss=SoftContrastive(), mask_id=words.mask_id, alpha=facts["alpha"])
    mlm.fixed = Masked(tensors["masked_ids"].long(), tensors["chosen"].bool())
    heads: dict[str, nn.Module] = {
        "itc": ItcHead(loss=SoftContrastive(), alpha=facts["alpha"], ramp_epochs=1.0),
        "itm": ItmHead(text_width=48, loss=CrossEntropy(), negatives=lambda *_: drawn),
        "mlm": mlm,
    }
    return Learner(model, heads)


def _momentum(model: Albef, image_queue: Tensor, text_queue: Tensor) -> MomentumEncoder:
    """The momentum encoder with the public momentum weights and a full queue."""
    momentum = MomentumEncoder(model=model, momentum=0.995, queue_size=QUEUE)
    for parameter in momentum.twin.parameters():
        parameter.mul_(MOMENTUM_SHARE)
    no_id = torch.full((QUEUE,), -1)
    momentum.queue.push(image_queue, text_queue, no_id, no_id)
    return momentum


def test_token_ids(golden: Golden) -> None:
    ids, mask = golden.model.tokenizer(golden.batch.texts)
    assert torch.equal(ids, golden.tensors["input_ids"].long())
    assert torch.equal(mask, golden.tensors["attention_mask"].bool())
    assert golden.model.tokenizer.vocab_size == golden.facts["vocab_size"]


def test_features(golden: Golden) -> None:
    image, text = golden.context.image, golden.context.text
    torch.testing.assert_close(image.features, golden.tensors["image_features"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(text.features, golden.tensors["text_features"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", ["itc", "itm", "mlm"])
def test_losses(golden: Golden, head: str) -> None:
    assert golden.outputs[head].loss.item() == pytest.approx(golden.facts[f"loss_{head}"], rel=1e-4)


def test_match_logits(golden: Golden) -> None:
    own = torch.arange(len(golden.batch))
    image_index = torch.cat((own, torch.tensor(golden.facts["neg_image_for_text"]), own))
    text_index = torch.cat((own, own, torch.tensor(golden.facts["neg_text_for_image"])))
    images, texts = golden.context.image.select(image_index), golden.context.text.select(text_index)
    logits = golden.learner.heads["itm"].match_logits(images, texts)
    torch.testing.assert_close(logits, golden.tensors["itm_logits"], rtol=1e-4, atol=1e-5)


def test_word_logits(golden: Golden) -> None:
    online = golden.mlm.logits(golden.context, golden.mlm.fixed)
    torch.testing.assert_close(online, golden.tensors["mlm_logits"], rtol=1e-4, atol=1e-4)
    teacher = golden.mlm.teacher_logits(golden.context, golden.mlm.fixed)
    torch.testing.assert_close(teacher, golden.tensors["mlm_teacher_logits"], rtol=1e-4, atol=1e-4)


def test_gradient_norms(golden: Golden) -> None:
    parameters = dict(golden.learner.named_parameters())
    public = dict(golden.facts["grad_norms"])
    # Each position's gradient flows into the one segment row as well, which is folded into the positions.
    positions = parameters[learner_name(POSITIONS)].grad
    assert positions.sum(0).norm().item() == pytest.approx(public.pop(SEGMENTS), rel=1e-4)
    expected = {learner_name(name): norm for name, norm in public.items()}
    assert set(expected) == set(parameters)
    found = {name: parameters[name].grad.norm().item() for name in expected}
    # A key's bias adds the same to all scores of a query, so its true gradient is zero.
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_momentum_state(golden: Golden) -> None:
    twin, tensors = golden.momentum.twin, golden.tensors
    torch.testing.assert_close(twin.image_projection.weight, tensors["momentum_projection_after"])
    torch.testing.assert_close(twin.text_transformer.embeddings.word.weight, tensors["momentum_words_after"])
    images, texts, image_ids, _ = golden.momentum.queue.contents()
    torch.testing.assert_close(images, tensors["image_queue_after"].t(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(texts, tensors["text_queue_after"].t(), rtol=1e-4, atol=1e-6)
    pushed = golden.facts["queue_ptr_after"]
    assert image_ids.tolist() == [*range(pushed), *[-1] * (QUEUE - pushed)]
