"""What keeps a pass from beginning is told by the check of its recipe, or before a result is moved."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from mmtk_capfilt.stage import CapfiltStage

from mmtk.api import AtLeast, StageError
from mmtk.engine.checkpoint_files import WEIGHTS
from mmtk.errors import RecipeError
from mmtk.recipe import check_recipe, load_recipe
from tests.capfilt.fake_steps import registry_with_fakes
from tests.capfilt.passes import Hashed, config
from tests.small_learner import ListReader, sample, stage_context

FILTER = {"use": "itm_filter", "checkpoint": "filter"}


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("web", "empty", "filter"):
        Path(name).mkdir()
    (Path("filter") / WEIGHTS).touch()


def faults(*steps: Any, **keys: Any) -> list[str]:
    """What the check says of a pass with these steps, from the key on."""
    data = {
        "reader": {"use": "webdataset", "path": "web"},
        "image_transform": {"use": "blip_test", "size": 8},
    }
    stage = {"use": "capfilt", "data": data, "steps": list(steps), **keys}
    Path("recipe.yaml").write_text(yaml.safe_dump({"stages": {"clean": stage}}))
    try:
        check_recipe(load_recipe("recipe.yaml"), registry_with_fakes())
    except RecipeError as error:
        return [
            line.partition("  stages.clean.")[2] for line in str(error).splitlines() if "stages.c" in line
        ]
    return []


def best(score: str) -> dict[str, str]:
    return {"use": "keep_best", "score": score}


@pytest.mark.parametrize(
    ("steps", "hint"),
    [
        ([FILTER, best("itm_probabilty")], "did you mean 'itm_probability'?"),
        ([FILTER, best("luck")], "they give itm_probability, itc_similarity"),
        ([{"use": "length_filter"}, best("itm_probability")], "they give none"),
        ([{"use": "fake_filter"}, best("fake_scroe")], "did you mean 'fake_score'?"),
        ([{"use": "by_fold", "steps": [FILTER, FILTER]}, best("itm_probabilty")], "did you mean 'itm_prob"),
    ],
)
def test_a_score_that_no_step_gives_is_told_by_the_check(steps: Sequence[Any], hint: str) -> None:
    score = steps[-1]["score"]
    (fault,) = faults(*steps)
    assert fault.startswith(
        f"steps.1.score: needs the score {score!r}, which no step before it gives; {hint}"
    )


def test_scores_are_needed_in_the_order_of_the_steps() -> None:
    assert faults(FILTER, best("itc_similarity"), {"use": "fake_filter"}, best("fake_score")) == []
    assert faults(best("itm_probability"), FILTER)[0].startswith("steps.0.score: needs")
    (fault,) = faults({"use": "by_fold", "steps": [best("luck"), best("luck")]}, FILTER)
    assert fault.startswith("steps.0: needs the score 'luck'")


def test_a_step_that_does_not_say_what_it_gives_may_give_anything() -> None:
    assert faults({"use": "fake_caption"}, best("luck")) == []


def test_a_folder_without_a_checkpoint_is_told_by_the_check() -> None:
    (fault,) = faults({**FILTER, "checkpoint": "empty"})
    assert fault.startswith(f"steps.0.checkpoint: empty: no checkpoint, {WEIGHTS} is missing (itm_filter")


def test_a_library_that_is_missing_is_told_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    (fault,) = faults({"use": "language_filter", "languages": ["en"]})
    assert fault.startswith("steps.0: needs the library py3langid: pip install 'mmtk[language]'")
    (fault,) = faults(FILTER, executor={"use": "ray"})
    assert fault.startswith("executor: needs the library ray: pip install 'mmtk[ray]'")


def test_the_stage_refuses_without_a_file_written(tmp_path: Path) -> None:
    wanted = config(ListReader([sample(0)]), Hashed(rules=(AtLeast("pluck", 0.5),)))
    stage = CapfiltStage(**vars(wanted))
    with pytest.raises(StageError, match=r"needs the score 'pluck', which no step before it gives"):
        stage.check_ready(stage_context(tmp_path / "clean"))
    assert list((tmp_path / "clean").iterdir()) == []
