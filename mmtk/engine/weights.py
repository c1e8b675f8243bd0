"""A module's tensors in one safetensors file; a tensor that goes by several names is written once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmtk.errors import CheckpointError

_SHARED = "shared"  # metadata key: JSON object from a left-out name to the name its tensor is stored under


def save_weights(module: nn.Module, path: Path) -> None:
    """Write ``module.state_dict()`` to ``path``. Tied tensors are stored once, under all names."""
    save_tensors(module.state_dict(), path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to ``path``; one that goes by several names is stored once. Raises OSError."""
    stored: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first_name: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        owner = first_name.setdefault(place, name) if tensor.numel() else name
        if owner != name:
            shared[name] = owner
        else:
            # A copy of its own storage: safetensors refuses tensors that overlap without being the same.
            stored[name] = tensor.detach().to("cpu", copy=True).contiguous()
    write_safetensors(stored, path, {_SHARED: json.dumps(shared, sort_keys=True)})


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors that share no memory to ``path``. Raises OSError where the disk fails."""
    try:
        save_file(dict(tensors), path, dict(metadata))
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read every tensor of ``path`` by name, on the CPU; names that were tied give one tensor.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            shared = json.loads((file.metadata() or {}).get(_SHARED, "{}"))
        return tensors | {name: tensors[owner] for name, owner in shared.items()}
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged, or no safetensors file ({error})") from error


def misfits(module: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Say, one line per tensor, where ``tensors`` and ``module.state_dict()`` differ in names or shapes."""
    return misfits_of(module.state_dict(), tensors)


def misfits_of(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """Say, one line per tensor, where ``tensors`` and the ``wanted`` ones differ in names or shapes."""
    lines = [f"{name}: missing from the file" for name in wanted if name not in tensors]
    lines += [f"{name}: in the file, but not in the model" for name in tensors if name not in wanted]
    lines += [
        f"{name}: shape {tuple(tensors[name].shape)} in the file, {tuple(tensor.shape)} in the model"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    return lines


def load_weights(module: nn.Module, path: Path) -> None:
    """Copy every tensor of ``path`` into ``module``, whose names and shapes must be the same.

    Raises:
        CheckpointError: the file is missing or damaged, or doesn't fit; names the tensors and both shapes.
    """
    tensors = read_weights(path)
    differences = misfits(module, tensors)
    if differences:
        more = f"\n  and {len(differences) - 8} more" if len(differences) > 8 else ""
        listed = "".join(f"\n  {line}" for line in differences[:8])
        raise CheckpointError(f"{path} does not fit the model:{listed}{more}")
    with torch.no_grad():
        module.load_state_dict(tensors)
