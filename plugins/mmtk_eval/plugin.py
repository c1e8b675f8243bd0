"""The components of the evaluation plugin. This module imports no torch."""

from __future__ import annotations

from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "stage",
            "evaluate",
            "mmtk_eval.evaluate:EvaluateStage",
            "mmtk_eval.configs:EvaluateConfig",
            "scores a checkpoint on splits with metrics",
        ),
        Component(
            "stage",
            "evaluate_filter",
            "mmtk_eval.evaluate_filter:EvaluateFilterStage",
            "mmtk_eval.configs:EvaluateFilterConfig",
            "compares a CapFilt ledger with known labels",
        ),
        Component(
            "metric",
            "retrieval",
            "mmtk_eval.retrieval:Retrieval",
            "mmtk_eval.configs:RetrievalConfig",
            "image-text retrieval both ways: ITC shortlist, ITM re-ranking, R@1/5/10",
        ),
        Component(
            "metric",
            "captioning",
            "mmtk_eval.captioning:Captioning",
            "mmtk_eval.configs:CaptioningConfig",
            "captions against references: BLEU-4 and CIDEr",
        ),
    ]
