from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.filter_table import JUDGED, OWN, PASS, PROPOSED, STAGES, Run, filter_recipe, summary, table


@pytest.fixture(scope="module")
def recipe() -> dict[str, object]:
    return filter_recipe()


def test_the_recipe_makes_the_filter_and_scores_web_texts_alone(recipe: dict[str, object]) -> None:
    stages = recipe["stages"]
    assert isinstance(stages, dict)
    assert tuple(stages) == (*STAGES, PASS, JUDGED)
    (folds,) = stages[PASS]["steps"]
    assert [step["use"] for step in folds["steps"]] == ["itm_filter", "itm_filter"]


def test_the_recipe_is_right(recipe: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "filter.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    check = subprocess.run(
        [sys.executable, "-m", "mmtk", "check", str(path)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_the_table_has_a_column_for_each_threshold() -> None:
    runs = [
        Run(seed, 60.0, {OWN: {"threshold": 0.02, "roc_auc": 0.8}, PROPOSED: {"threshold": 0.1 * seed}})
        for seed in (1, 3)
    ]
    shown = table(summary(runs, "python -m benchmarks.filter_table", 2))
    assert "| the filter at | the recipe's threshold | the proposed threshold |" in shown
    assert "| threshold | 0.020 ± 0.000 | 0.200 ± 0.141 |" in shown
    assert "| ROC AUC | 0.800 ± 0.000 | undefined |" in shown
