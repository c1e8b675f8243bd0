"""Optimizer state in shards, by fairscale's OSS (ZeRO stage 1: Rajbhandari et al. 2020, arXiv 1910.02054)."""

from __future__ import annotations

import inspect
from typing import Any

from fairscale.optim import OSS

from mmtk.api import DdpSpread, Spread, StageError, Workload, plain, rank, replicated, world_size


class FairscaleOss:
    """Each rank steps and remembers its own part of the parameters, and sends it to the others."""

    def __call__(self, workload: Workload) -> Spread:
        if world_size() == 1:
            return plain(workload)
        workload.to_device()
        return OssSpread(workload, replicated(workload.objective), sharded_optimizer(workload))


def sharded_optimizer(workload: Workload) -> OSS:
    """Build the workload's optimizer once to learn its class, groups and options, and then in shards.

    Raises StageError for an optimizer whose class can't be called with its own options again.
    """
    whole = workload.build_optimizer()
    accepted = inspect.signature(type(whole).__init__).parameters
    options = {name: value for name, value in whole.defaults.items() if name in accepted}
    groups = [dict(group) for group in whole.param_groups]
    try:
        return OSS(groups, optim=type(whole), **options)
    except TypeError as error:
        raise StageError(f"fairscale can't shard the optimizer {type(whole).__name__}: {error}") from error


class OssSpread(DdpSpread):
    """A workload whose optimizer state is in shards. States are saved whole."""

    sharded_saving = False
    optimizer: OSS

    def optimizer_state(self) -> dict[str, Any]:
        self.optimizer.consolidate_state_dict(recipient_rank=0)
        if rank() == 0:
            state: dict[str, Any] = self.optimizer.state_dict()
            return state
        return {"state": {}, "param_groups": self.optimizer.param_groups}
