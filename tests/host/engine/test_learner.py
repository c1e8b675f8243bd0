from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError
from mmtk.kinds import CaptioningHead, MatchingHead
from tests.host.engine.tiny import NamingHead, TinyModel


class Matcher(nn.Module):
    def match_logits(self, images: Any, texts: Any) -> torch.Tensor:
        assert len(images) == len(texts)
        return torch.zeros(len(images), 2)


def test_head_with_finds_what_implements_the_protocol() -> None:
    model = TinyModel()
    matcher = Matcher()
    learner = Learner(model, {"naming": NamingHead(model=model), "itm": matcher})
    assert learner.head_with(MatchingHead) is matcher


def test_head_with_names_what_there_is_instead() -> None:
    model = TinyModel()
    learner = Learner(model, {"naming": NamingHead(model=model), "itm": Matcher()})
    with pytest.raises(CheckpointError) as caught:
        learner.head_with(CaptioningHead)
    assert str(caught.value) == (
        "this needs a head that can write captions (LM), and the checkpoint has none; "
        "its heads: naming (NamingHead), itm (Matcher)"
    )


def test_no_heads_at_all() -> None:
    with pytest.raises(CheckpointError, match="its heads: none"):
        Learner(TinyModel(), {}).head_with(MatchingHead)


def test_state_dict_names_model_and_heads() -> None:
    model = TinyModel()
    names = set(Learner(model, {"naming": NamingHead(model=model)}).state_dict())
    assert {"model.text.weight", "heads.naming.bias"} <= names
