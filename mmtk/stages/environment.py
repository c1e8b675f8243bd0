"""What a run depends on beside its recipe: device, random state, interpreter and packages."""

from __future__ import annotations

import platform
import random
import sys
from pathlib import Path
from typing import Any

from mmtk.errors import StageError


def resolve_device(device: str) -> str:
    """Return the device that ``auto`` stands for here, or ``device`` itself.

    Raises:
        StageError: a CUDA device that this machine doesn't have.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not device.startswith("cuda"):
        return device
    count = torch.cuda.device_count()
    index = int(device.partition(":")[2] or 0)
    if index >= count:
        found = f"has only cuda:0 to cuda:{count - 1}" if count else "has no CUDA device"
        raise StageError(f"device '{device}' was asked for, but this machine {found}; use auto or cpu")
    return device


def seed_everything(seed: int) -> None:
    """Set the global generators of Python, numpy and torch (all devices)."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def describe_environment() -> dict[str, Any]:
    """Return interpreter, platform, working folder and the version of every installed distribution."""
    from importlib.metadata import distributions

    packages = {dist.metadata["Name"]: dist.version for dist in distributions() if dist.metadata["Name"]}
    return {
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "folder": str(Path.cwd()),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }
