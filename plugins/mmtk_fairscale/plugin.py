"""The components of the fairscale plugin. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl

CONFIGS = "mmtk_fairscale.configs"


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "strategy",
            "fairscale_oss",
            "mmtk_fairscale.oss:FairscaleOss",
            f"{CONFIGS}:FairscaleOssConfig",
            "optimizer state in shards (ZeRO stage 1)",
        ),
        Component(
            "strategy",
            "fairscale_sdp",
            "mmtk_fairscale.sdp:FairscaleSdp",
            f"{CONFIGS}:FairscaleSdpConfig",
            "optimizer state and gradients in shards (ZeRO stage 2); needs CUDA",
        ),
        Component(
            "strategy",
            "fairscale_fsdp",
            "mmtk_fairscale.fsdp:FairscaleFsdp",
            f"{CONFIGS}:FairscaleFsdpConfig",
            "parameters, gradients and optimizer state in shards (ZeRO stage 3); needs CUDA",
        ),
        Component(
            "activation_checkpointing",
            "fairscale_checkpoint",
            "mmtk_fairscale.recompute:FairscaleCheckpointing",
            f"{CONFIGS}:FairscaleCheckpointingConfig",
            "recomputes activations by fairscale, with layers' inputs on the CPU if asked",
        ),
    ]
