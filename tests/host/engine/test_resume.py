from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mmtk.engine.learner import Learner
from mmtk.engine.optimizers import AdamW
from mmtk.engine.resume import ResumeFolder
from mmtk.engine.schedules import WarmupCosine
from mmtk.engine.trainer import Trainer
from mmtk.errors import CheckpointError
from mmtk.types import Quarantined
from tests.host.engine.tiny import NamingHead, NoisyHead, TinyModel, TinyMomentum, batch

QUARANTINED = (Quarantined("k7", "no picture", "web.tar"), Quarantined("k9", "empty text"))


def set_up(folder: Path, width: int = 4) -> tuple[Trainer, ResumeFolder]:
    torch.manual_seed(0)
    model = TinyModel(width=width, dropout=0.3)
    learner = Learner(model, {"naming": NamingHead(model=model), "noisy": NoisyHead(model=model)})
    momentum = TinyMomentum(model=model)
    optimizer = AdamW(lr=1e-2, no_decay="bias_and_norm")(learner.named_parameters())
    trainer = Trainer(
        learner, momentum, optimizer, WarmupCosine(warmup_steps=3), seed=1, steps_per_epoch=4, total_steps=12
    )
    return trainer, ResumeFolder(folder, {"learner": learner, "momentum": momentum}, optimizer)


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    both = nn.ModuleDict({"learner": trainer.learner, "momentum": trainer.momentum})
    return {name: tensor.clone() for name, tensor in both.state_dict().items()}


def test_nothing_saved(tmp_path: Path) -> None:
    assert set_up(tmp_path / "resume")[1].load() is None


def test_resumed_training_repeats_every_bit(tmp_path: Path) -> None:
    through, resume = set_up(tmp_path / "resume")
    for step in range(12):
        through.step([batch(value=0.1 * step)], step)
        if step == 4:
            resume.save(5, QUARANTINED)

    resumed, resume = set_up(tmp_path / "resume")
    resumed.step([batch(value=9.0)], 0)  # spoils weights and moments before the state is loaded over them
    point = resume.load()
    assert point is not None
    assert point.step == 5
    assert point.quarantined == QUARANTINED
    for step in range(5, 12):
        resumed.step([batch(value=0.1 * step)], step)

    expected = tensors(through)
    assert all(torch.equal(expected[name], tensor) for name, tensor in tensors(resumed).items())


def test_only_the_newest_state_is_kept(tmp_path: Path) -> None:
    _, resume = set_up(tmp_path / "resume")
    for step in (9, 10, 100):
        resume.save(step, ())
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["step-0000000100"]
    resume.clear()
    assert list(tmp_path.iterdir()) == []
    resume.clear()


def test_a_kill_between_two_states_leaves_the_newest_to_load(tmp_path: Path) -> None:
    _, resume = set_up(tmp_path / "resume")
    resume.save(99, ())
    kept = tmp_path / "resume" / "step-0000000099"
    kept.rename(tmp_path / "kept")
    resume.save(100, ())
    (tmp_path / "kept").rename(kept)  # as if the kill had come before the older state was removed
    (tmp_path / "resume" / ".step-0000000101.partial").mkdir()
    point = resume.load()
    assert point is not None
    assert point.step == 100


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", None])
def test_damaged_state_says_what_to_delete(tmp_path: Path, name: str, content: bytes | None) -> None:
    _, resume = set_up(tmp_path / "resume")
    resume.save(5, ())
    path = tmp_path / "resume" / "step-0000000005" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        resume.load()
    assert f"delete {tmp_path / 'resume'}" in str(caught.value)
    assert name in str(caught.value)


def test_state_of_another_model(tmp_path: Path) -> None:
    set_up(tmp_path / "resume")[1].save(5, ())
    with pytest.raises(
        CheckpointError, match=r"learner\.model\.image\.weight: shape \(4, 3\) in the file, \(5, 3\)"
    ):
        set_up(tmp_path / "resume", width=5)[1].load()


def test_state_is_never_unpickled_into_code(tmp_path: Path) -> None:
    _, resume = set_up(tmp_path / "resume")
    resume.save(5, ())
    torch.save(
        {"step": 5, "optimizer": {}, "quarantined": [Path("x")]}, tmp_path / "resume/step-0000000005/state.pt"
    )
    with pytest.raises(CheckpointError, match="UnpicklingError"):
        resume.load()
