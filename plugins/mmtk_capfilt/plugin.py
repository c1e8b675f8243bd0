"""The components and commands of CapFilt. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Command, Component, hookimpl
from mmtk_capfilt.report.components import COMPONENTS as REPORT_COMPONENTS

_STEPS = "mmtk_capfilt.steps"


def _step(name: str, factory: str, config: str, summary: str) -> Component:
    return Component("capfilt_step", name, f"{_STEPS}.{factory}", f"{_STEPS}.configs:{config}", summary)


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "stage",
            "capfilt",
            "mmtk_capfilt.stage:CapfiltStage",
            "mmtk_capfilt.configs:CapfiltConfig",
            "cleans the texts of a dataset in one pass of steps, with a ledger of every text",
        ),
        Component(
            "stage",
            "join_ledgers",
            "mmtk_capfilt.join:JoinLedgersStage",
            "mmtk_capfilt.configs:JoinLedgersConfig",
            "puts the ledgers of passes over different images together",
        ),
        Component(
            "executor",
            "local",
            "mmtk_capfilt.executors.local:Local",
            "mmtk_capfilt.configs:LocalConfig",
            "works on the parts of a pass on this machine, in one process or several",
        ),
        Component(
            "executor",
            "ray",
            "mmtk_capfilt.executors.ray:Ray",
            "mmtk_capfilt.configs:RayConfig",
            "works on the parts of a pass on a Ray cluster, whose workers may die and come back",
        ),
        _step("caption", "caption:Caption", "CaptionConfig", "writes synthetic captions"),
        _step(
            "itm_filter",
            "matching:MatchFilter",
            "MatchFilterConfig",
            "keeps the texts that a checkpoint's matching head believes in",
        ),
        _step(
            "itc_filter",
            "matching:FeatureFilter",
            "FeatureFilterConfig",
            "keeps the texts whose ITC features are close to the image's",
        ),
        _step("by_fold", "by_fold:ByFold", "ByFoldConfig", "has each fold's own step work on its images"),
        _step("length_filter", "texts:LengthFilter", "LengthFilterConfig", "drops short and long texts"),
        _step("dedup", "dedup:Dedup", "DedupConfig", "leaves out duplicate pictures, bars repeated texts"),
        _step(
            "decontaminate",
            "decontaminate:Decontaminate",
            "DecontaminateConfig",
            "leaves out pictures of evaluation sets",
        ),
        _step(
            "language_filter",
            "language:LanguageFilter",
            "LanguageFilterConfig",
            "bars texts in other languages",
        ),
        _step("keep_best", "texts:KeepBest", "KeepBestConfig", "keeps the best of an image's texts"),
        _step("merge", "texts:Merge", "MergeConfig", "adds human pairs, and weighs what is written"),
        *REPORT_COMPONENTS,
    ]


@hookimpl
def mmtk_commands() -> list[Command]:
    commands = (
        Command(
            "resift",
            "mmtk_capfilt.commands.resift",
            "Apply other thresholds to a finished pass by the scores in its ledger, without a model.",
        ),
        Command(
            "calibrate",
            "mmtk_capfilt.commands.calibrate",
            "Say what thresholds do to texts that are known to be right or wrong, and propose one.",
        ),
    )
    return [
        Command("capfilt", summary="Work with the ledger of a pass that cleaned captions.", commands=commands)
    ]
