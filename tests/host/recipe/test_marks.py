from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmtk.config import NodeDefault
from mmtk.recipe.marks import BROKEN, Marked, Patched, Place, assign, at, is_reference, mark, merge, plain

HERE, THERE = Place("base.yaml", 1, 1), Place("top.yaml", 2, 2)

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
names = st.sampled_from(["a", "b", "c"])
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(names, data, max_size=3)


def put(node: Marked, keys: list[str], value: Marked) -> Marked:
    return assign(node, keys, value, [value.place] * len(keys))


def merged(base: Any, patch: Any) -> Any:
    return plain(merge(mark(base, HERE), mark(patch, THERE)))


@settings(deadline=None)
@given(data)
def test_marking_keeps_the_data(value: Any) -> None:
    assert plain(mark(value, HERE)) == value


def test_a_default_node_becomes_its_mapping() -> None:
    default = NodeDefault("outer", {"inner": NodeDefault("inner", {"sizes": (1, 2)})})
    assert plain(mark(default, HERE)) == {"use": "outer", "inner": {"use": "inner", "sizes": [1, 2]}}


def test_a_broken_part_is_null() -> None:
    assert plain(Marked({"a": Marked(BROKEN, HERE)}, HERE)) == {"a": None}
    assert repr(BROKEN) == "BROKEN"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("${a.b}", True), ("${a}b", False), ("${a}${b}", False), ("a", False), (3, False), ("${a.${b}}", False)],
)
def test_is_reference(text: Any, expected: bool) -> None:
    assert is_reference(Marked(text, HERE)) is expected


def test_merging() -> None:
    assert merged({"a": {"x": 1, "y": 2}, "l": [1, 2]}, {"a": {"y": 3}, "l": [4]}) == {
        "a": {"x": 1, "y": 3},
        "l": [4],
    }
    assert merged({"a": 1}, {"a": {"b": 2}}) == {"a": {"b": 2}}
    assert merged({"a": {"b": 2}}, {"a": None}) == {"a": None}


def test_another_component_replaces_and_the_same_one_is_merged() -> None:
    base = {"loss": {"use": "smooth", "smoothing": 0.2}}
    assert merged(base, {"loss": {"use": "margin"}}) == {"loss": {"use": "margin"}}
    assert merged(base, {"loss": {"use": "smooth", "reduce": "sum"}}) == {
        "loss": {"use": "smooth", "smoothing": 0.2, "reduce": "sum"}
    }
    assert merged(base, {"loss": {"reduce": "sum"}})["loss"]["smoothing"] == 0.2
    assert merged({"loss": {"margin": 1}}, {"loss": {"use": "margin"}}) == {"loss": {"use": "margin"}}


def test_merging_keeps_the_places() -> None:
    found = merge(mark({"a": {"x": 1, "y": 2}}, HERE), mark({"a": {"y": 3}}, THERE))
    x, y = at(found, ["a", "x"]), at(found, ["a", "y"])
    assert x is not None
    assert y is not None
    assert (x.place, y.place) == (HERE, THERE)


@settings(deadline=None)
@given(mappings)
def test_merging_with_itself_or_nothing_changes_nothing(value: dict[str, Any]) -> None:
    assert merged(value, value) == value
    assert merged(value, {}) == value
    assert merged({}, value) == value


@settings(deadline=None)
@given(mappings, mappings, mappings)
def test_merging_is_associative_for_mappings(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    def flat(value: Any) -> Any:
        """Only mappings and scalars, where one path is never a scalar in one and a mapping in another."""
        return {key: item for key, item in value.items() if not isinstance(item, dict | list)}

    a, b, c = flat(a), flat(b), flat(c)
    assert merged(merged(a, b), c) == merged(a, merged(b, c)) == {**a, **b, **c}


def test_changing_a_reference() -> None:
    reference = mark({"model": "${definitions.model}"}, HERE)
    once = merge(reference, mark({"model": {"width": 3}}, THERE))
    twice = put(once, ["model", "depth"], Marked(2, THERE))
    found = twice.value["model"].value
    assert isinstance(found, Patched)
    assert found.reference.value == "${definitions.model}"
    assert {key: item.value for key, item in found.changes.items()} == {"width": 3, "depth": 2}
    again = merge(twice, mark({"model": {"width": 4}}, THERE)).value["model"].value
    assert {key: item.value for key, item in again.changes.items()} == {"width": 4, "depth": 2}
    other = merge(twice, mark({"model": {"use": "other"}}, THERE))
    assert plain(other) == {"model": {"use": "other"}}


def holds_lists(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, dict) and any(map(holds_lists, value.values())))


@settings(deadline=None)
@given(data, st.lists(names, min_size=1, max_size=3), scalars)
def test_what_is_assigned_is_found_there(value: Any, keys: list[str], new: Any) -> None:
    root = mark(value, HERE)
    assume(not holds_lists(value))
    changed = put(root, keys, Marked(new, THERE))
    found = at(changed, keys)
    assert found is not None
    assert found.value == new
    assert found.place == THERE
    assert plain(root) == value


def test_assigning_into_a_list() -> None:
    root = mark({"a": [{"b": 1}, {"b": 2}]}, HERE)
    assert plain(put(root, ["a", "1", "b"], Marked(3, THERE))) == {"a": [{"b": 1}, {"b": 3}]}
    with pytest.raises(LookupError, match="'2' is no index of a list of 2"):
        put(root, ["a", "2", "b"], Marked(3, THERE))
    with pytest.raises(LookupError, match="'x' is no index"):
        put(root, ["a", "x"], Marked(3, THERE))


def test_assigning_below_null_makes_a_mapping() -> None:
    assert plain(put(mark({"a": None}, HERE), ["a", "use"], Marked("ema", THERE))) == {"a": {"use": "ema"}}
