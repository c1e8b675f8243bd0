"""Out and in again, no bit is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmtk_blip.text_transformer import Sharing
from mmtk_blip.weights.exporters import BlipExporter, TransformersExporter
from safetensors.torch import load_file

from tests.blip.parts import batch

from .learners import Sizes, assert_equal_tensors, imported_again, small_learner, source_of, vocab_file

HEADS = {"heads": 2, "image_heads": 2}
GOLDEN = Path(__file__).parents[2] / "golden"


@st.composite
def sizes(draw: st.DrawFn) -> Sizes:
    heads, image_heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Sizes(
        width=heads * draw(st.integers(1, 4)) * 2,
        depth=draw(st.integers(1, 3)),
        heads=heads,
        hidden_width=draw(st.integers(1, 40)),
        max_positions=draw(st.integers(3, 40)),
        image_width=image_heads * draw(st.integers(1, 4)) * 2,
        image_depth=draw(st.integers(1, 3)),
        image_heads=image_heads,
        patch_size=draw(st.sampled_from([1, 4, 7])),
        grid=draw(st.integers(1, 4)),
        embed_dim=draw(st.integers(1, 9)),
    )


@settings(max_examples=15, deadline=None, derandomize=True)
@given(sizes(), st.sampled_from(["all", "all_but_sa"]), st.integers(0, 3))
def test_public_pretraining(size: Sizes, sharing: Sharing, seed: int) -> None:
    learner = small_learner(sharing, sizes=size, seed=seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        BlipExporter()(source_of(learner), folder / "blip.pth")
        found, done = imported_again(
            folder / "blip.pth",
            folder,
            vocab=vocab_file(folder),
            heads=size.heads,
            image_heads=size.image_heads,
        )
    assert_equal_tensors(found.state_dict(), learner.state_dict())
    assert found.model.text_transformer.sharing == sharing
    assert not done.takeover.fresh
    assert all("_m." in left or left.endswith("position_ids") for left in done.takeover.left_over)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(sizes(), st.integers(0, 3))
def test_transformers_retrieval(size: Sizes, seed: int) -> None:
    learner = small_learner("all", ("itc", "itm"), size, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        TransformersExporter()(source_of(learner), folder / "blip")
        found, done = imported_again(folder / "blip", folder)
    # transformers has no temperature; the learner's comes from its class's first value.
    expected = learner.state_dict() | {"model.temperature": torch.tensor(0.07)}
    assert_equal_tensors(found.state_dict(), expected)
    assert found.model.tokenizer.vocabulary == learner.model.tokenizer.vocabulary
    assert not done.takeover.left_over
    assert done.notes == ("The checkpoint has no temperature; it starts at 0.07.",)


@pytest.mark.parametrize("sharing", ["all", "all_but_sa", "all_but_ca", "none"])
@pytest.mark.parametrize("layout", ["public", "transformers"])
def test_a_captioner_writes_by_the_same_numbers(tmp_path: Path, sharing: Sharing, layout: str) -> None:
    learner = small_learner(sharing, ("lm",))
    if layout == "public":
        BlipExporter()(source_of(learner), tmp_path / "blip.pth")
        found, done = imported_again(tmp_path / "blip.pth", tmp_path, vocab=vocab_file(tmp_path), **HEADS)
    else:
        TransformersExporter()(source_of(learner), tmp_path / "blip")
        found, done = imported_again(tmp_path / "blip", tmp_path)
    assert found.model.text_transformer.sharing == "all"
    # Nothing but what captioning never reads is missing.
    assert {name.split(".")[1] for name in done.takeover.fresh} == {"image_projection", "text_projection"}
    assert "image_projection" in done.notes[0]
    state = found.state_dict()
    assert torch.equal(state["heads.lm.prediction.bias"], learner.heads["lm"].prediction.bias)
    losses = []
    for one in (learner, found):
        images = one.model.encode_images(batch().images)
        ids, mask = one.model.tokenizer(batch().texts)
        states = one.model.text_transformer.decode(ids, images.keys_values("decoder"), mask=mask)
        losses.append(one.heads["lm"].logits(one.model, states))
    assert torch.equal(*losses)


@pytest.mark.parametrize("sharing", ["all", "all_but_sa", "all_but_ca", "none"])
def test_both_folders_of_transformers_hold_their_side(tmp_path: Path, sharing: Sharing) -> None:
    learner = small_learner(sharing)
    said = TransformersExporter()(source_of(learner), tmp_path / "blip")
    assert "caption/ and retrieval/" in said[0]
    state = learner.state_dict()
    for task, side in (("caption", "decoder_"), ("retrieval", "")):
        found, _ = imported_again(tmp_path / "blip" / task, tmp_path / task)
        for name, tensor in found.state_dict().items():
            if not name.startswith("model.text_transformer."):
                continue
            own = name.replace("text_transformer.", f"text_transformer.{side}")
            assert torch.equal(tensor, state.get(own, state[name])), name


def test_the_golden_checkpoint(tmp_path: Path) -> None:
    golden = load_file(GOLDEN / "blip_tiny.safetensors")
    options = {"vocab": GOLDEN / "vocab.txt", "heads": 4, "image_heads": 4}
    learner, done = imported_again(GOLDEN / "blip_tiny.safetensors", tmp_path, **options)
    assert not done.takeover.fresh
    assert not done.takeover.misshapen
    queues = {"queue_ptr", "image_queue", "text_queue"}
    assert {name for name in done.takeover.left_over if "_m." not in name} == queues
    BlipExporter()(source_of(learner), tmp_path / "again.pth")
    again = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    online = {name: tensor for name, tensor in golden.items() if "_m." not in name and name not in queues}
    assert len(online) > 90
    assert all(torch.equal(again[name], tensor.float()) for name, tensor in online.items())
    # What the golden file leaves out because it is tied.
    assert torch.equal(
        again["text_decoder.cls.predictions.decoder.weight"],
        again["text_encoder.embeddings.word_embeddings.weight"],
    )


def test_nan_survives(tmp_path: Path) -> None:
    learner = small_learner()
    with torch.no_grad():
        learner.model.text_transformer.feed_forward[0].norm.bias[0] = float("nan")
    BlipExporter()(source_of(learner), tmp_path / "blip.pth")
    found, _ = imported_again(tmp_path / "blip.pth", tmp_path, vocab=vocab_file(tmp_path), **HEADS)
    assert found.model.text_transformer.sharing == "all_but_sa"
    assert found.model.text_transformer.feed_forward[0].norm.bias[0].isnan()
