"""What training starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmtk.errors import CheckpointError
from tests.host.engine.stage_runs import (
    run,
    weights,
)
from tests.host.engine.tiny import NamingHead, TinyModel, part


def test_two_stages_of_one_model_start_alike(tmp_path: Path) -> None:
    frozen: dict[str, Any] = {"schedule": part("schedule", "off", lambda: lambda *_: 0.0), "epochs": 1}
    run(tmp_path / "one", **frozen)
    run(tmp_path / "two", heads={"naming": part("head", "naming", NamingHead)}, **frozen)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_init_takes_over_what_fits(through: Path, tmp_path: Path) -> None:
    said = run(
        tmp_path,
        init=through / "checkpoint",
        heads={
            "naming": part("head", "naming", NamingHead),
            "naming_too": part("head", "naming", NamingHead),
        },
        schedule=part("schedule", "off", lambda: lambda *_: 0.0),
        epochs=1,
    )
    assert len(said) == 2
    assert said[0].startswith(f"from {through / 'checkpoint'}: ")
    assert "1 left over (heads.noisy.scale)" in said[0]
    assert "1 missing, which keep their random values (heads.naming_too.bias)" in said[0]
    before, after = weights(through), weights(tmp_path)
    taken_over = before.keys() & after.keys() - {
        "model.temperature"
    }  # which the model clamps before each step
    assert len(taken_over) == 5
    assert all(torch.equal(before[name], after[name]) for name in taken_over)


def test_init_reports_other_shapes(through: Path, tmp_path: Path) -> None:
    said = run(
        tmp_path, init=through / "checkpoint", model=part("model", "tiny", TinyModel, width=3), epochs=1
    )
    assert "of another shape (model.image.weight (4, 3) for (3, 3)" in said[0]


def test_init_from_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        run(tmp_path / "run", init=tmp_path)


def test_init_from_something_else_entirely(through: Path, tmp_path: Path) -> None:
    class Other(TinyModel):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TinyModel()
            del self.image, self.text, self.text_again, self.temperature

    with pytest.raises(CheckpointError, match="nothing in this checkpoint fits the model"):
        run(tmp_path, init=through / "checkpoint", model=part("model", "other", Other), heads={})
