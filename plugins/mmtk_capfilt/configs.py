"""What the stages and executors of CapFilt take. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from mmtk.api import Blueprint, CapfiltStep, EvaluationDataConfig, Executor, Input, Output, Range, Slot, node
from mmtk_capfilt.extras import missing
from mmtk_capfilt.scores import score_faults


@dataclass(frozen=True, kw_only=True)
class CapfiltConfig:
    """Clean the texts of a dataset in one pass: caption, filter, merge."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {
        "dataset": Output("dataset", "dataset"),
        "ledger": Output("ledger", "ledger.parquet"),
        "funnel": Output("funnel", "funnel.json"),
        "quarantine": Output("quarantine", "quarantine.jsonl"),
    }
    SAME_RESULT: ClassVar[tuple[str, ...]] = (
        "executor",
        "data.workers",
        "data.prefetch",
        "data.max_quarantined",
    )

    data: EvaluationDataConfig
    """The web pairs. ``batch_size`` is how many images the steps get at a time."""
    steps: Annotated[tuple[Blueprint[CapfiltStep], ...], Slot("capfilt_step")]
    """What is done with each image and its texts, in order."""
    executor: Annotated[Blueprint[Executor], Slot("executor")] = node("local")
    """Where parts are worked on. Under torchrun the ranks share them instead."""
    output: Literal["webdataset", "parquet"] = "webdataset"
    """Form of the cleaned shards; Parquet files are as Hugging Face ``datasets`` opens them."""
    part_size: Annotated[int, Range(1)] = 1000
    """Images per part. A part gives one shard; what is killed in it, is done anew."""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.steps:
            yield "steps", "needs at least one step"
        yield from score_faults(self.steps)


@dataclass(frozen=True, kw_only=True)
class JoinLedgersConfig:
    """Put the ledgers of several filters together, each about its own part of the images."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {"ledger": Output("ledger", "ledger.parquet")}

    ledgers: tuple[Annotated[Path, Input("ledger", "file")], ...]
    """The ledgers, in the order in which their rows are written."""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.ledgers:
            yield "ledgers", "needs at least one ledger"


@dataclass(frozen=True, kw_only=True)
class LocalConfig:
    """Work on parts on this machine."""

    workers: Annotated[int, Range(1)] = 1
    """Processes, each with models of its own; with 1 it is the run's own process."""
    threads: Annotated[int | None, Range(1)] = None
    """Threads with which each process computes; null takes ``OMP_NUM_THREADS`` or, without it, shares the
    processor's cores out."""


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Work on parts on a Ray cluster, whose workers may die and come back."""

    address: str | None = None
    """The cluster's, ``HOST:PORT``, or ``auto`` for one that was started on this machine. null is what
    ``RAY_ADDRESS`` says; without it a cluster of this machine alone is started, for the time of the stage."""
    workers: Annotated[int | None, Range(1)] = None
    """Processes, each with models of its own; null takes as many as the nodes have room for, also when nodes
    come and go. Workers that the cluster has no room for are waited for while others work."""
    cpus_per_worker: Annotated[int, Range(1)] = 1
    """Cores of each worker, and threads with which it computes."""
    gpus_per_worker: Annotated[float | None, Range(0)] = None
    """GPUs of each worker, or a fraction of one that several share; null is 1 where the run's device is a
    GPU, else 0."""
    tries: Annotated[int, Range(1)] = 3
    """Workers that may die in a row while they work on one part, before the stage fails."""
    patience: Annotated[float, Range(0)] = 600.0
    """Seconds without any worker after which the stage fails."""

    def check(self) -> Iterator[tuple[str, str]]:
        if fault := missing("ray", "ray"):
            yield "", fault
