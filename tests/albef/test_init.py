"""ALBEF starts from BERT: its lower layers read texts as BERT does, the others take BERT's upper ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmtk_blip.weights.initial import BertWeights
from transformers import BertConfig, BertForMaskedLM

from mmtk.engine.initialise import take_over

from .parts import TEXTS, tiny_learner, tokenizer


@pytest.fixture
def bert(tmp_path: Path) -> BertForMaskedLM:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=tokenizer().vocab_size - 2,  # without [DEC] and [ENC]
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    model = BertForMaskedLM(config).eval()
    model.save_pretrained(tmp_path / "bert")
    return model


def test_albef_starts_from_bert(bert: BertForMaskedLM, tmp_path: Path) -> None:
    learner = tiny_learner().eval()
    done = take_over(learner, BertWeights(path=tmp_path / "bert")(learner), "bert")
    assert not done.misshapen
    assert done.left_over == ("bert.embeddings.token_type_embeddings.weight",)
    assert all("cross_attention" in name for name in done.fresh if "text_transformer" in name)
    ids, mask = learner.model.tokenizer(TEXTS)
    with torch.no_grad():
        expected = bert.bert(ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states[1]
        found = learner.model.text_transformer.encode(ids, mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-4, atol=1e-5)
    upper = bert.bert.encoder.layer[2]
    assert torch.equal(
        learner.model.text_transformer.feed_forward[2].expand.weight, upper.intermediate.dense.weight
    )
    assert torch.equal(learner.model.prediction.dense.weight, bert.cls.predictions.transform.dense.weight)
