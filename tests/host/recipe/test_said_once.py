"""What the reading of a recipe has found wrong, its check says nothing more of."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.errors import RecipeError
from tests.host.recipe.parts import checked

NO_NOPE = "${nope}: there is no 'nope' in the recipe; "


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("stages: {a: '${nope}'}", f"1:13  stages.a: {NO_NOPE}"),
        ("stages: '${nope}'", f"1:9  stages: {NO_NOPE}"),
        ("stages: {a: {use: work, loss: '${nope}'}}", f"1:31  stages.a.loss: {NO_NOPE}"),
        ("stages: {a: {use: work, parts: ['${nope}']}}", f"1:33  stages.a.parts.0: {NO_NOPE}"),
        ("stages: {a: '???'}", "1:10  stages.a: has no value yet; set it, e.g. with stages.a=VALUE"),
        ("stages: ???", "1:1  stages: has no value yet"),
        ("stages: {a: '${nope}', b: {use: make, after: {from: a.blob}}}", f"1:13  stages.a: {NO_NOPE}"),
        ("definitions: '${nope}'\nstages: {a: {use: make}}", f"1:14  definitions: {NO_NOPE}"),
    ],
)
def test_one_fault_is_said_once(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        checked(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/recipe.yaml:{fault}")
    assert "problems" not in str(caught.value)
