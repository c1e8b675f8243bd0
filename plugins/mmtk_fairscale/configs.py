"""What the components of the fairscale plugin take. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mmtk.api import Range


@dataclass(frozen=True, kw_only=True)
class FairscaleOssConfig:
    """Keep a part of the optimizer's state on each process, and all parameters and gradients on all (OSS)."""


@dataclass(frozen=True, kw_only=True)
class FairscaleSdpConfig:
    """Keep a part of optimizer state and gradients on each process (OSS with ShardedDataParallel)."""

    reduce_buffer_size: Annotated[int, Range(0, None)] = 2**23
    """numbers that are reduced together, where gradients are smaller"""


@dataclass(frozen=True, kw_only=True)
class FairscaleFsdpConfig:
    """Keep a part of parameters, gradients and optimizer state on each process (FullyShardedDataParallel)."""

    reshard_after_forward: bool = True
    """drop gathered parameters after a layer's forward pass: less memory, more traffic"""
    cpu_offload: bool = False
    """keep parameters and gradients in the CPU's memory between uses, where the optimizer then steps"""


@dataclass(frozen=True, kw_only=True)
class FairscaleCheckpointingConfig:
    """Recompute activations in the backward pass instead of keeping them (checkpoint_wrapper)."""

    layers: Annotated[float, Range(0, 1, low_open=True)] = 1.0
    """share of the layers, from the last one on"""
    offload_to_cpu: bool = False
    """keep the inputs of these layers in the CPU's memory until the backward pass"""
