from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.engine.checkpoint_files import WEIGHTS, checkpoint_fault


def weights(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / WEIGHTS).touch()
    return folder


def test_a_folder_with_weights_is_a_checkpoint(tmp_path: Path) -> None:
    assert checkpoint_fault(weights(tmp_path / "c")) is None


def test_what_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("model.pth").touch()
    assert checkpoint_fault(Path("empty")) == f"empty: no checkpoint, {WEIGHTS} is missing"
    assert checkpoint_fault(Path("gone")) == "gone: there is no such checkpoint folder"
    fault = checkpoint_fault(Path("model.pth"))
    assert fault is not None
    assert "a file; 'mmtk import' makes one" in fault


def test_checkpoints_in_the_folder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights(Path("run/pretrain/checkpoint"))
    fault = checkpoint_fault(Path("run"))
    assert fault is not None
    assert fault.endswith("; did you mean run/pretrain/checkpoint?")
    weights(Path("run/filter/checkpoint"))
    assert str(checkpoint_fault(Path("run"))).endswith(
        "did you mean run/filter/checkpoint or run/pretrain/checkpoint?"
    )
