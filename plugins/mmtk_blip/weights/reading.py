"""Tensors by name from the files of other programs. Nothing in a file is ever run."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mmtk.api import CheckpointError

PICKLED = (".pth", ".pt", ".bin")
SAFE = ".safetensors"
# In the order of preference: the files that a transformers folder keeps its weights in.
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_SHARDED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_LFS = b"version https://git-lfs.github.com/spec/"
_WRAPPERS = ("model", "state_dict")
_PARALLEL = "module."  # what DistributedDataParallel puts before every name


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name on the CPU, floating-point ones as float32.

    Args:
        path: a file that ends in .pth, .pt, .bin or .safetensors, or a transformers folder, whose weights
            may be sharded. ``{"model": …}`` and ``{"state_dict": …}`` are opened, and the ``module.`` of
            data-parallel training is cut off.

    Raises:
        CheckpointError: missing, truncated, no checkpoint, a git-lfs pointer, or a pickle that holds code.
    """
    tensors = _folder(path) if path.is_dir() else _file(path)
    if all(name.startswith(_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(_PARALLEL): tensor for name, tensor in tensors.items()}
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError when the file is missing or holds something else."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def _folder(folder: Path) -> dict[str, Tensor]:
    for name in _SINGLE:
        if (folder / name).exists():
            return _file(folder / name)
    for name in _SHARDED:
        if (folder / name).exists():
            return _shards(folder / name)
    raise CheckpointError(f"{folder}: no weights in this folder; expected {' or '.join(_SINGLE)}")


def _shards(index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, Mapping) or not places:
        raise CheckpointError(f"{index}: damaged, it names no shards (weight_map)")
    tensors: dict[str, Tensor] = {}
    for name in sorted({str(place) for place in places.values()}):
        if Path(name).name != name:
            raise CheckpointError(f"{index}: refused: the shard {name!r} lies outside the folder")
        tensors |= _file(index.parent / name)
    missing = [name for name in places if name not in tensors]
    if missing:
        raise CheckpointError(f"{index}: {len(missing)} tensors aren't in the shards, e.g. {missing[0]}")
    return tensors


def _file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if path.suffix not in (*PICKLED, SAFE):
        raise CheckpointError(f"{path}: no checkpoint; expected {', '.join((*PICKLED, SAFE))}, or a folder")
    with path.open("rb") as file:
        start = file.read(len(_LFS))
    if start == _LFS:
        raise CheckpointError(f"{path}: a git-lfs pointer and not the file itself; run `git lfs pull`")
    found = _safetensors(path) if path.suffix == SAFE else _state_dict(_unpickled(path))
    if not found:
        raise CheckpointError(f"{path}: no checkpoint, it holds no tensors by name")
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated, damaged or no safetensors file ({error})") from error


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that torch didn't write: they fail below
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is None:
            raise CheckpointError(f"{path}: no checkpoint, or damaged: it isn't a PyTorch file") from error
        raise CheckpointError(
            f"{path}: refused: holds code ({code[1]}), which loading would run; mmtk loads tensors only"
        ) from error
    # A damaged archive raises whatever its reader stumbles over.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: truncated, damaged or no PyTorch file ({reason})") from error


def _state_dict(found: Any) -> dict[str, Tensor]:
    """The tensors of what a file holds, with or without something around them."""
    for _ in range(1 + len(_WRAPPERS)):
        if not isinstance(found, Mapping):
            return {}
        inner = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        found = inner
    return {}
