"""Memory that a process takes, by what the kernel or the CUDA allocator says."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")


def settled_memory(device: str) -> int | None:
    """Memory in use after freed memory was handed back; starts a new peak. None where unknown."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not _CLEAR.exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text("5")  # VmHWM starts again at the present size
    return _status("VmRSS")


def peak_memory(device: str) -> int | None:
    """The greatest use since the last ``settled_memory``; None where unknown."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") if _CLEAR.exists() else None


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
