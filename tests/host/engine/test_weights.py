from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from mmtk.engine.weights import load_weights, misfits, read_weights, save_weights
from mmtk.errors import CheckpointError


class Tied(nn.Module):
    """Two names for one table, and a buffer that is a part of it."""

    def __init__(self, words: int = 5) -> None:
        super().__init__()
        self.table = nn.Embedding(words, 3)
        self.output = nn.Linear(3, words, bias=False)
        self.output.weight = self.table.weight
        self.norm = nn.LayerNorm(3)
        self.register_buffer("first_row", self.table.weight.detach()[0])
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("empty_too", torch.zeros(0, 3))


def test_round_trip_keeps_every_bit_and_the_tie(tmp_path: Path) -> None:
    written = Tied()
    save_weights(written, tmp_path / "w.safetensors")
    read = Tied()
    load_weights(read, tmp_path / "w.safetensors")

    for name, tensor in written.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name
    assert read.output.weight is read.table.weight


def test_tied_tensor_is_stored_once_and_listed(tmp_path: Path) -> None:
    save_weights(Tied(), tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == [
            "count",
            "empty",
            "empty_too",
            "first_row",
            "norm.bias",
            "norm.weight",
            "table.weight",
        ]
        assert json.loads(file.metadata()["shared"]) == {"output.weight": "table.weight"}
    assert "output.weight" in read_weights(tmp_path / "w.safetensors")


def test_weights_tied_on_disk_load_into_an_untied_module(tmp_path: Path) -> None:
    written = Tied()
    save_weights(written, tmp_path / "w.safetensors")
    untied = Tied()
    untied.output.weight = nn.Parameter(torch.zeros(5, 3))
    load_weights(untied, tmp_path / "w.safetensors")
    assert torch.equal(untied.output.weight, written.table.weight)
    assert untied.output.weight is not untied.table.weight


def test_saving_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    module = Tied()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    save_weights(module, tmp_path / "w.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert module.table.weight.requires_grad


def test_shape_mismatch_names_the_tensor_and_both_shapes(tmp_path: Path) -> None:
    save_weights(Tied(words=6), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_weights(Tied(words=5), tmp_path / "w.safetensors")
    assert "table.weight: shape (6, 3) in the file, (5, 3) in the model" in str(caught.value)
    assert "w.safetensors" in str(caught.value)


def test_misfit_changes_nothing(tmp_path: Path) -> None:
    save_weights(Tied(words=6), tmp_path / "w.safetensors")
    module = Tied(words=5)
    norm = module.norm.weight
    with torch.no_grad():
        norm.fill_(3.0)
    with pytest.raises(CheckpointError):
        load_weights(module, tmp_path / "w.safetensors")
    assert torch.equal(norm, torch.full((3,), 3.0))


def test_missing_and_unexpected_tensors_are_named() -> None:
    lines = misfits(nn.LayerNorm(3), {"weight": torch.zeros(3), "extra": torch.zeros(1)})
    assert lines == ["bias: missing from the file", "extra: in the file, but not in the model"]


def test_long_lists_of_misfits_are_cut(tmp_path: Path) -> None:
    save_weights(nn.ModuleList(nn.Linear(2, 2) for _ in range(10)), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="and 12 more"):
        load_weights(nn.ModuleList(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b'\x08\0\0\0\0\0\0\0{"a":1}x'])
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"w\.safetensors: damaged"):
        read_weights(tmp_path / "w.safetensors")


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(Tied(), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        read_weights(tmp_path / "w.safetensors")


def test_what_the_disk_says_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        save_weights(nn.Linear(2, 2), tmp_path / "nowhere" / "w.safetensors")
    assert caught.value.filename == str(tmp_path / "nowhere" / "w.safetensors")
