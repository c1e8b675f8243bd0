from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmtk.errors import RecipeError
from mmtk.inference import load


@pytest.mark.parametrize(
    ("task", "hint"),
    [("captions", "; did you mean 'caption'?"), ("matching", "; did you mean 'match'?"), ("x", "")],
)
def test_an_unknown_task_is_told_with_those_there_are(tmp_path: Path, task: Any, hint: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(tmp_path, task=task)
    assert str(error.value) == f"task='{task}': expected one of 'caption', 'match', 'embed', or None{hint}"
