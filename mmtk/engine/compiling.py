"""Layers compiled by ``torch.compile``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import torch
from torch import nn

from mmtk.errors import StageError

_HINT = {
    "cpu": "On the CPU torch.compile needs a C++ compiler (g++ or clang++; CXX may name one)",
    "cuda": "On NVIDIA GPUs torch.compile needs Triton and a C compiler",
}

# Where CUDA is installed and no GPU is found, importing what compiles for the CPU warns of it.
logging.getLogger("torch.utils.cpp_extension").addFilter(
    lambda record: not record.getMessage().startswith("No CUDA runtime is found")
)


def compile_layers(layers: Sequence[nn.Module], device: torch.device) -> None:
    """Compile what layers do, for inputs of any length; names of parameters stay.

    It comes before activation checkpointing, which wraps ``forward``: torch compiles nothing around that.

    Raises:
        StageError: nothing can be compiled for ``device`` on this machine.
    """
    _try(device)
    for layer in layers:
        # An attribute of the instance, as a wrapper of the layer changes it.
        layer.forward = torch.compile(layer.forward, dynamic=True)


def _try(device: torch.device) -> None:
    """Compile one addition, so that what is missing here is said before the first step."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(_plus_one)(torch.zeros(8, device=device))
    except Exception as error:  # each backend has its own
        reason = str(error).strip().partition("\n")[0]
        raise StageError(
            f"compile: nothing can be compiled here: {reason}. {_HINT.get(device.type, '')}; "
            "leave `compile` out to train without"
        ) from error


def _plus_one(numbers: torch.Tensor) -> torch.Tensor:
    return numbers + 1
