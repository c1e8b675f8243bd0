"""The stage that scores a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmtk.api import (
    Blueprint,
    EstimateContext,
    EvaluationData,
    EvaluationDataConfig,
    Metric,
    Quarantine,
    StageContext,
    counted,
    learner_parameters,
    load_learner,
)


class EvaluateStage:
    """Writes ``metrics.json``: a number per SPLIT/METRIC/FIGURE, as ``test/retrieval/text_to_image/r1``."""

    def __init__(
        self,
        *,
        checkpoint: Path,
        splits: Mapping[str, EvaluationDataConfig],
        metrics: Mapping[str, Blueprint[Metric]],
    ) -> None:
        self._checkpoint = checkpoint
        self._splits = splits
        self._metrics = metrics

    def estimate(self, context: EstimateContext) -> Iterator[str]:
        """Tell how large the learner is and how much there is to score."""
        if missing := context.missing(self._checkpoint):
            yield f"parameters: not known without {missing}"
        else:
            yield f"parameters: {learner_parameters(self._checkpoint, context.registry):,}"
        named = ", ".join(self._metrics)
        for split, config in self._splits.items():
            if missing := context.missing(config):
                yield f"{split}: samples not known without {missing}; metrics: {named}"
                continue
            data = EvaluationData(config)
            batches = f"{counted(len(data), 'batch', 'batches')} of up to {data.batch_size:,}"
            yield f"{split}: {counted(data.samples, 'sample')} in {batches}; metrics: {named}"
        yield "memory and time: not estimated: they are the metrics' own, which measure neither"

    def run(self, context: StageContext) -> None:
        learner = load_learner(self._checkpoint, context.registry, context.device)
        metrics = {name: blueprint.build() for name, blueprint in self._metrics.items()}
        figures: dict[str, float] = {}
        quarantine = Quarantine()
        for split, config in self._splits.items():
            data = EvaluationData(config)
            for name, metric in metrics.items():
                for figure, value in metric(learner, data, context).items():
                    figures[f"{split}/{name}/{figure}"] = value
                context.say(f"{name} on {split} is done")
            for entry in data.quarantine.entries:
                quarantine.add(entry)
        quarantine.write(context.folder / "quarantine.jsonl")
        text = json.dumps(figures, indent=2, allow_nan=False)
        (context.folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
