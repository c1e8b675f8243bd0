from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.errors import RecipeError
from mmtk.stages.graph import execution_order


def test_keeps_the_recipes_order_of_independent_stages() -> None:
    assert execution_order({"c": [], "a": [], "b": []}) == ["c", "a", "b"]


def test_puts_what_is_read_first() -> None:
    reads = {"report": ["merge"], "merge": ["filter", "data"], "filter": ["data"], "data": []}
    assert execution_order(reads) == ["data", "filter", "merge", "report"]


def test_names_the_circle() -> None:
    with pytest.raises(RecipeError, match="caption -> filter -> caption"):
        execution_order({"data": [], "caption": ["filter", "data"], "filter": ["caption"]})


def test_names_the_circle_that_a_stage_outside_of_it_leads_to() -> None:
    with pytest.raises(RecipeError, match=r"circle: b -> c -> b$"):
        execution_order({"a": ["b"], "b": ["c"], "c": ["b"]})


def test_a_stage_that_reads_itself_is_a_circle() -> None:
    with pytest.raises(RecipeError, match="a -> a"):
        execution_order({"a": ["a"]})


def test_unknown_stage() -> None:
    with pytest.raises(RecipeError, match="'b' reads from 'nowhere'"):
        execution_order({"a": [], "b": ["a", "nowhere"]})


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Random graphs without a circle, their stages in any order."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 8)))]
    reads = {
        name: sorted(draw(st.sets(st.sampled_from(names[:index])))) if index else []
        for index, name in enumerate(names)
    }
    return {name: reads[name] for name in draw(st.permutations(names))}


@given(graphs())
def test_every_stage_once_and_behind_its_inputs(reads: dict[str, list[str]]) -> None:
    order = execution_order(reads)
    assert sorted(order) == sorted(reads)
    assert all(order.index(source) < order.index(stage) for stage in reads for source in reads[stage])
    assert execution_order(dict(reads)) == order


@given(graphs())
def test_an_order_that_already_fits_is_left_alone(reads: dict[str, list[str]]) -> None:
    order = execution_order(reads)
    assert execution_order({stage: reads[stage] for stage in order}) == order
