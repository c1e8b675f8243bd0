from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmtk_eval.evaluate as module
import pytest
from mmtk_eval.evaluate import EvaluateStage
from mmtk_eval.retrieval import Retrieval

from mmtk.errors import DataError
from tests.small_learner import Built, ListReader, data_config, sample, small_learner, stage_context


class Counting:
    """Counts samples, and passes over the data."""

    def __call__(self, learner: Any, data: Any, _: Any) -> Mapping[str, float]:
        assert not learner.training
        return {"samples": sum(len(batch) for batch in data), "again": sum(len(batch) for batch in data)}


def test_every_metric_is_computed_on_every_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_learner", lambda *_: small_learner().eval())
    stage = EvaluateStage(
        checkpoint=Path("checkpoint"),
        splits={
            "val": data_config(ListReader([sample(n) for n in range(4)])),
            "test": data_config(ListReader([sample(0), DataError("torn page"), sample(2)])),
        },
        metrics={"retrieval": Built(Retrieval(k=2, pairs_per_batch=8)), "count": Built(Counting())},
    )
    lines: list[str] = []
    stage.run(stage_context(tmp_path, lines=lines))
    figures = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert figures["val/count/samples"] == figures["val/count/again"] == 4
    assert figures["test/count/samples"] == figures["test/retrieval/images"] == 2
    assert figures["test/retrieval/text_to_image/r5"] == 1.0
    assert {name.partition("/")[0] for name in figures} == {"val", "test"}
    assert lines == [
        f"{name} on {split} is done" for split in ("val", "test") for name in ("retrieval", "count")
    ]
    quarantined = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["reason"] for entry in quarantined] == ["torn page"]


def test_a_figure_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_learner", lambda *_: small_learner().eval())
    stage = EvaluateStage(
        checkpoint=Path("checkpoint"),
        splits={"test": data_config(ListReader([sample(0)]))},
        metrics={"odd": Built(lambda *_: {"figure": float("nan")})},
    )
    with pytest.raises(ValueError, match="JSON compliant"):
        stage.run(stage_context(tmp_path))
