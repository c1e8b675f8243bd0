from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mmtk.distributed.spread import Workload
from mmtk.distributed.strategies import plain
from mmtk.engine.configs import FLOAT32, SavingConfig
from mmtk.engine.learner import Learner
from mmtk.engine.objective import Objective
from mmtk.engine.optimizers import AdamW
from mmtk.engine.position import Course, Origin, Place
from mmtk.engine.saved_states import Progress, SavedStates
from mmtk.engine.schedules import WarmupCosine
from mmtk.engine.trainer import Trainer
from mmtk.errors import CheckpointError, StageError
from mmtk.types import Quarantined
from tests.host.engine.tiny import NamingHead, NoisyHead, TinyModel, TinyMomentum, UnusedHead, batch
from tests.ranks import run_ranks

PROGRESS = Progress(
    5,
    place=Place(1, 24),
    origin=Origin(2, 0, 7),
    ranks=2,
    global_batch=12,
    streams=[{"shard": 3}, {}],
    window={"sums": {"loss": 0.1}},
    nonfinite=(1, 4),
    quarantined=(Quarantined("k7", "no picture", "web.tar"), Quarantined("k9", "empty text")),
)


def set_up(
    folder: Path, width: int = 4, heads: dict[str, nn.Module] | None = None, **saving: Any
) -> tuple[Trainer, SavedStates, list[str]]:
    torch.manual_seed(0)
    model = TinyModel(width=width, dropout=0.3)
    learner = Learner(model, heads or {"naming": NamingHead(model=model), "noisy": NoisyHead(model=model)})
    momentum = TinyMomentum(model=model)
    optimizer = AdamW(lr=1e-2, no_decay="bias_and_norm")
    spread = plain(Workload(Objective(learner, FLOAT32), momentum, (), optimizer, torch.device("cpu")))
    course = Course(epochs=3, step_size=1, batches_left=lambda taken: 4 - taken)
    trainer = Trainer(spread, momentum, WarmupCosine(warmup_steps=3), seed=1, course=course)
    said: list[str] = []
    return trainer, SavedStates(folder, spread, SavingConfig(**saving), said.append), said


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    both = nn.ModuleDict({"learner": trainer.learner, "momentum": trainer.momentum})
    return {name: tensor.clone() for name, tensor in both.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_saved(tmp_path: Path) -> None:
    assert set_up(tmp_path / "resume")[1].load() is None


@pytest.mark.parametrize(
    "saving", [{}, {"asynchronous": True}, {"form": "sharded"}], ids=["whole", "asynchronous", "sharded"]
)
def test_resumed_training_repeats_every_bit(tmp_path: Path, saving: dict[str, Any]) -> None:
    through, states, _ = set_up(tmp_path / "resume", **saving)
    for step in range(12):
        through.step([batch(value=0.1 * step)], step)
        if step == 4:
            states.save(PROGRESS)
    states.wait()

    resumed, states, _ = set_up(tmp_path / "resume", **saving)
    resumed.step([batch(value=9.0)], 0)  # spoils weights and moments before the state is loaded over them
    point = states.load()
    assert point is not None
    assert replace(point, numbers={}) == PROGRESS
    for step in range(5, 12):
        resumed.step([batch(value=0.1 * step)], step)
    assert same(tensors(through), tensors(resumed))


def test_a_sharded_state_is_read_into_a_new_optimizer(tmp_path: Path) -> None:
    through, states, _ = set_up(tmp_path / "resume", form="sharded")
    through.step([batch()], 0)
    states.save(PROGRESS)
    through.step([batch()], 1)
    resumed, states, _ = set_up(tmp_path / "resume", form="sharded")
    assert states.load() is not None
    resumed.step([batch()], 1)
    assert same(tensors(through), tensors(resumed))


@pytest.mark.parametrize("form", ["whole", "sharded"])
def test_a_parameter_without_gradient_has_no_slots_after_loading(tmp_path: Path, form: str) -> None:
    def set_up_unused() -> tuple[Trainer, SavedStates]:
        trainer, states, _ = set_up(tmp_path / "resume", heads={"unused": UnusedHead()}, form=form)
        return trainer, states

    through, states = set_up_unused()
    through.step([batch()], 0)
    states.save(replace(PROGRESS, step=1))
    resumed, states = set_up_unused()
    assert states.load() is not None
    found, expected = resumed.optimizer.state_dict(), through.optimizer.state_dict()
    assert found["state"].keys() == expected["state"].keys()
    assert 0 < len(found["state"]) < len(list(resumed.learner.parameters()))
    for index, slots in expected["state"].items():
        assert same(found["state"][index], slots)
    own_rates = [{**group, "lr": 0} for group in expected["param_groups"]]
    assert [{**group, "lr": 0} for group in found["param_groups"]] == own_rates


def test_the_last_and_the_best_states_are_kept(tmp_path: Path) -> None:
    _, states, _ = set_up(tmp_path / "resume", keep_last=2, best_by="loss")
    for step, loss in ((8, 0.5), (9, 0.25), (10, 0.5), (11, None), (100, 0.75)):
        states.save(replace(PROGRESS, step=step, best=loss))
    assert names(tmp_path / "resume") == ["step-0000000009", "step-0000000011", "step-0000000100"]
    best = states.best_learner()
    assert best is not None
    assert "model.image.weight" in best
    states.clear()
    assert list(tmp_path.iterdir()) == []
    states.clear()


def test_a_kill_between_two_states_leaves_the_newest_to_load(tmp_path: Path) -> None:
    _, states, _ = set_up(tmp_path / "resume", keep_last=1)
    states.save(replace(PROGRESS, step=99))
    kept = tmp_path / "resume" / "step-0000000099"
    kept.rename(tmp_path / "kept")
    states.save(replace(PROGRESS, step=100))
    (tmp_path / "kept").rename(kept)  # as if the kill had come before the older state was removed
    (tmp_path / "resume" / ".step-0000000101.partial").mkdir()
    point = states.load()
    assert point is not None
    assert point.step == 100
    assert names(tmp_path / "resume") == ["step-0000000099", "step-0000000100"]


def damaged(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "short":
        file.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        file.write_bytes(b"")
    else:
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.mark.parametrize("file", ["state.safetensors", "progress.json", "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "short", "empty", "a bit"])
def test_a_damaged_state_is_named_and_the_one_before_taken(tmp_path: Path, file: str, how: str) -> None:
    trainer, states, said = set_up(tmp_path / "resume")
    states.save(PROGRESS)
    expected = tensors(trainer)
    trainer.step([batch()], 5)
    states.save(replace(PROGRESS, step=6))
    damaged(tmp_path / "resume" / "step-0000000006" / file, how)
    point = states.load()
    assert point is not None
    assert point.step == 5
    assert same(tensors(trainer), expected)
    (line,) = said
    assert line.startswith("the state step-0000000006 is damaged and passed over: ")
    assert "it lies in damaged-step-0000000006" in line
    # A bit of the manifest may turn over in the name of a file, which is then missing.
    assert file in line or file == "manifest.json"
    states.save(replace(PROGRESS, step=6))
    assert names(tmp_path / "resume") == ["damaged-step-0000000006", "step-0000000005", "step-0000000006"]


def test_a_damaged_shard_is_found(tmp_path: Path) -> None:
    _, states, said = set_up(tmp_path / "resume", form="sharded")
    states.save(PROGRESS)
    states.save(replace(PROGRESS, step=6))
    (shard,) = (tmp_path / "resume" / "step-0000000006" / "shards").glob("*.distcp")
    damaged(shard, "a bit")
    point = states.load()
    assert point is not None
    assert point.step == 5
    assert "has another checksum" in said[0]


def test_without_a_whole_state_every_try_says_what_to_delete(tmp_path: Path) -> None:
    _, states, _ = set_up(tmp_path / "resume")
    for step in (5, 6):
        states.save(replace(PROGRESS, step=step))
        (tmp_path / "resume" / f"step-{step:010d}" / "manifest.json").unlink()
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"none of the 2 training states in .*resume is whole; de"):
            states.load()
    shutil.rmtree(tmp_path / "resume")
    assert states.load() is None


def test_state_of_another_model(tmp_path: Path) -> None:
    set_up(tmp_path / "resume")[1].save(PROGRESS)
    with pytest.raises(CheckpointError) as caught:
        set_up(tmp_path / "resume", width=5)[1].load()
    assert "learner.model.image.weight: shape (4, 3) in the file, (5, 3)" in str(caught.value)
    assert f"delete {tmp_path / 'resume'}" in str(caught.value)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_full_disk_is_one_message_and_the_state_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    _, states, _ = set_up(tmp_path / "resume", asynchronous=asynchronous)
    states.save(PROGRESS)
    states.wait()

    monkeypatch.setattr("mmtk.engine.saved_states.save_tensors", full)
    with pytest.raises(StageError, match=r"can't be saved in .*: No space left on device .* free there"):
        for step in (6, 7):  # the error of a write in the background comes with the next one
            states.save(replace(PROGRESS, step=step))
    assert names(tmp_path / "resume") == ["step-0000000005"]


def test_closing_waits_and_says_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, states, said = set_up(tmp_path / "resume", asynchronous=True)
    monkeypatch.setattr("mmtk.engine.saved_states.save_tensors", full)
    states.save(PROGRESS)
    states.close()
    states.close()
    (line,) = said
    assert "No space left on device" in line


def fail_on_rank_0(number: int, folder: str, asynchronous: bool) -> list[tuple[str, bool]]:
    """What this rank hears of a full disk, and of states that are all damaged."""
    resume = Path(folder) / "resume"
    _, states, _ = set_up(resume, asynchronous=asynchronous)
    heard = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmtk.engine.saved_states.save_tensors", full)
        with pytest.raises(StageError) as unsaved:
            states.save(PROGRESS)
            states.wait()
        heard.append((str(unsaved.value), unsaved.value.on_all_ranks))
    states.save(PROGRESS)
    states.wait()
    if number == 0:
        damaged(resume / "step-0000000005" / "state.safetensors", "a bit")
    with pytest.raises(CheckpointError) as unloaded:
        states.load()
    heard.append((str(unloaded.value), unloaded.value.on_all_ranks))
    return heard


@pytest.mark.parametrize("asynchronous", [False, True])
def test_every_rank_hears_what_fails_on_rank_0(tmp_path: Path, asynchronous: bool) -> None:
    here = "tests.host.engine.test_saved_states:fail_on_rank_0"
    one, other = run_ranks(here, tmp_path, str(tmp_path), asynchronous)
    assert one == other
    (unsaved, agreed), (unloaded, agreed_again) = one
    assert "can't be saved in" in unsaved
    assert "none of the 1 training states" in unloaded
    assert agreed
    assert agreed_again


def test_no_file_of_a_state_is_a_pickle(tmp_path: Path) -> None:
    trainer, states, _ = set_up(tmp_path / "resume")
    trainer.step([batch()], 0)
    states.save(PROGRESS)
    folder = tmp_path / "resume" / "step-0000000005"
    assert names(folder) == ["manifest.json", "progress.json", "state.safetensors"]
    assert json.loads((folder / "progress.json").read_text())["numbers"]["groups"][0]["betas"] == [0.9, 0.999]
