"""Files of other programs give tensors or one clear message, and never run anything."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from mmtk_blip.weights.reading import read_tensors
from safetensors.torch import save_file

from mmtk.api import CheckpointError

TENSORS = {"a.weight": torch.tensor([[1.5, float("nan")]]), "b": torch.arange(3)}


class Hostile:
    """A pickle that makes a folder when it is loaded the ordinary way."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.place),)


def _equal(found: dict[str, torch.Tensor]) -> bool:
    return set(found) == set(TENSORS) and all(
        torch.equal(found[name].nan_to_num(7), tensor.nan_to_num(7)) for name, tensor in TENSORS.items()
    )


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize(
    "around",
    [
        lambda tensors: tensors,
        lambda tensors: {"model": tensors, "epoch": 3, "optimizer": {"state": {}}},
        lambda tensors: {"state_dict": tensors},
        lambda tensors: {"model": {f"module.{name}": tensor for name, tensor in tensors.items()}},
    ],
    ids=["bare", "model", "state_dict", "module"],
)
def test_pickled_tensors(tmp_path: Path, suffix: str, around) -> None:
    torch.save(around(TENSORS), tmp_path / f"weights{suffix}")
    assert _equal(read_tensors(tmp_path / f"weights{suffix}"))


def test_the_old_format(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert _equal(read_tensors(tmp_path / "old.pth"))


def test_safetensors_and_folders(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert _equal(read_tensors(tmp_path / "model.safetensors"))
    assert _equal(read_tensors(tmp_path))


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_shards(tmp_path: Path, kind: str) -> None:
    write = save_file if kind.endswith("safetensors") else torch.save
    places = {}
    for number, (name, tensor) in enumerate(TENSORS.items()):
        places[name] = f"part-{number}{Path(kind).suffix}"
        write({name: tensor}, tmp_path / places[name])
    index = tmp_path / f"{kind}.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert _equal(read_tensors(tmp_path))
    index.write_text(json.dumps({"weight_map": places | {"c": places["b"]}}))
    with pytest.raises(CheckpointError, match=r"1 tensors aren't in the shards, e.g. c"):
        read_tensors(tmp_path)
    index.write_text(json.dumps({"weight_map": {"b": "../elsewhere.bin"}}))
    with pytest.raises(CheckpointError, match="outside the folder"):
        read_tensors(tmp_path)


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    torch.save({"a": torch.tensor([0.1], dtype=torch.bfloat16)}, tmp_path / "half.pth")
    found = read_tensors(tmp_path / "half.pth")["a"]
    assert found.dtype == torch.float32
    assert found.item() == torch.tensor(0.1, dtype=torch.bfloat16).item()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("pickled", [False, True], ids=["torch.save", "pickle"])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool, pickled: bool) -> None:
    trap = tmp_path / "sprung"
    path = tmp_path / "hostile.pth"
    content = {"model": {"a": torch.zeros(1)}, "trap": Hostile(trap)}
    if pickled:
        path.write_bytes(pickle.dumps(Hostile(trap), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"refused: holds code \((posix|nt)\.mkdir\), which loading"):
        read_tensors(path)
    assert not trap.exists()


def test_a_pickle_of_another_program_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "hostile.pth").write_bytes(pickle.dumps(Hostile(tmp_path / "sprung"), protocol=5))
    with pytest.raises(CheckpointError, match="isn't a PyTorch file"):
        read_tensors(tmp_path / "hostile.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_truncated(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    tensors = {"a": torch.zeros(300, 10)}
    (save_file if name.endswith("safetensors") else torch.save)(tensors, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(CheckpointError, match="truncated, damaged or no"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.pth", None, "no such file"),
        ("notes.txt", b"hello", "no checkpoint; expected .pth"),
        ("page.pth", b"<!DOCTYPE html><html>Not Found</html>", "damaged"),
        ("page.safetensors", b"<!DOCTYPE html><html>Not Found</html>", "no safetensors file"),
        ("big.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
        ("big.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_tensors(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match="holds no tensors by name"):
        read_tensors(tmp_path / "empty.pth")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="no weights in this folder"):
        read_tensors(tmp_path / "folder")


def test_a_file_that_holds_itself_ends(tmp_path: Path) -> None:
    found: dict = {}
    found["model"] = found
    torch.save(found, tmp_path / "ring.pth")
    with pytest.raises(CheckpointError, match="holds no tensors by name"):
        read_tensors(tmp_path / "ring.pth")
