"""First weights for a learner from a BLIP checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmtk_blip.position_embeddings import resized
from mmtk_blip.weights.exporters import BlipExporter, TransformersExporter
from mmtk_blip.weights.sources import BlipWeights
from torch import nn

from mmtk.api import CheckpointError
from mmtk.engine.initialise import Takeover, take_over
from mmtk.engine.learner import Learner

from .learners import Sizes, assert_equal_tensors, small_learner, source_of

TEXT = "model.text_transformer."
POSITIONS = "model.image_encoder.vit.pos_embed"


def filled(learner: Learner, path: Path) -> Takeover:
    return take_over(learner, BlipWeights(path=path)(learner), str(path))


def test_the_public_file_fills_a_learner_of_its_kind(tmp_path: Path) -> None:
    trained = small_learner()
    BlipExporter()(source_of(trained), tmp_path / "blip.pth")
    fresh = small_learner(seed=1)
    done = filled(fresh, tmp_path / "blip.pth")
    assert_equal_tensors(fresh.state_dict(), trained.state_dict())
    assert not done.fresh


def test_heads_may_have_other_names(tmp_path: Path) -> None:
    trained = small_learner()
    BlipExporter()(source_of(trained), tmp_path / "blip.pth")
    fresh = small_learner(seed=1)
    renamed = Learner(fresh.model, {"speak": fresh.heads["lm"], "match": fresh.heads["itm"]})
    assert not filled(renamed, tmp_path / "blip.pth").fresh
    assert torch.equal(renamed.heads["match"].classifier.bias, trained.heads["itm"].classifier.bias)


def test_a_head_that_the_learner_lacks_is_left_over(tmp_path: Path) -> None:
    BlipExporter()(source_of(small_learner()), tmp_path / "blip.pth")
    done = filled(small_learner(heads=("itc",), seed=1), tmp_path / "blip.pth")
    assert {"itm_head.bias", "text_decoder.cls.predictions.transform.dense.weight"} <= set(done.left_over)


def test_an_untied_learner_starts_with_copies(tmp_path: Path) -> None:
    trained = small_learner("all")
    BlipExporter()(source_of(trained), tmp_path / "blip.pth")
    fresh = small_learner("none", seed=1)
    assert not filled(fresh, tmp_path / "blip.pth").fresh
    state = fresh.state_dict()
    for name, tensor in trained.state_dict().items():
        if name.startswith(TEXT):
            assert torch.equal(state[name], tensor)
            assert torch.equal(state[name.replace(TEXT, TEXT + "decoder_")], tensor)


@pytest.mark.parametrize("task", ["caption", "retrieval"])
def test_one_side_fills_both(tmp_path: Path, task: str) -> None:
    trained = small_learner("all_but_sa")
    TransformersExporter(task=task)(source_of(trained), tmp_path / "blip")
    fresh = small_learner("all_but_sa", seed=1)
    filled(fresh, tmp_path / "blip")
    state, given = fresh.state_dict(), trained.state_dict()
    side = "decoder_" if task == "caption" else ""
    for name in (name for name in state if name.startswith(f"{TEXT}self_attention")):
        expected = given[name.replace(TEXT, TEXT + side)]
        assert torch.equal(state[name], expected)
        assert torch.equal(state[name.replace(TEXT, TEXT + "decoder_")], expected)


def test_what_a_tied_learner_cannot_hold_is_left_over(tmp_path: Path) -> None:
    BlipExporter()(source_of(small_learner("all_but_sa")), tmp_path / "blip.pth")
    done = filled(small_learner("all", seed=1), tmp_path / "blip.pth")
    lost = {name for name in done.left_over if "_m." not in name and "position_ids" not in name}
    assert lost
    assert all(name.startswith("text_decoder.bert.encoder.layer") for name in lost)
    assert all(".attention." in name for name in lost)


def test_position_embeddings_come_in_the_learners_size(tmp_path: Path) -> None:
    trained = small_learner(sizes=Sizes(grid=3))
    BlipExporter()(source_of(trained), tmp_path / "blip.pth")
    larger = small_learner(sizes=Sizes(grid=5), seed=1)
    filled(larger, tmp_path / "blip.pth")
    found = larger.state_dict()[POSITIONS]
    assert torch.equal(found, resized(trained.state_dict()[POSITIONS], 25))
    same = small_learner(sizes=Sizes(grid=3), seed=1)
    filled(same, tmp_path / "blip.pth")
    found = same.state_dict()[POSITIONS]
    assert torch.equal(found, trained.state_dict()[POSITIONS])


def test_refusals(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: no BLIP checkpoint: it lacks text_decoder"):
        BlipWeights(path=tmp_path / "other.pth")(small_learner())
    with pytest.raises(CheckpointError, match="fit the model 'med', and this one is Linear"):
        BlipWeights(path=tmp_path / "other.pth")(Learner(nn.Linear(1, 1), {}))
