"""An example of a recipe node: the keys that must be given, with values that pass the check."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from mmtk.config import Input, Range, Slot
from mmtk.recipe.schema import REQUIRED, component_schema, dataclass_keys
from mmtk.recipe.wording import is_mapping, is_sequence
from mmtk.registry import Registration, Registry

_DEPTH = 3  # of components in an example's components


def example_node(registration: Registration, registry: Registry, depth: int = _DEPTH) -> dict[str, Any]:
    """A node with the keys that must be given, which passes the check but for files that aren't there."""
    needed = {
        name: key for name, key in component_schema(registration).keys.items() if key.default is REQUIRED
    }
    values = {name: _example(name, key.annotation, (), registry, depth) for name, key in needed.items()}
    return {"use": registry.spelling(registration), **values}


def _example(name: str, annotation: Any, notes: tuple[Any, ...], registry: Registry, depth: int) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _example(name, arguments[0], (*notes, *arguments[1:]), registry, depth)
    if origin is Literal:
        return arguments[0]
    if is_mapping(annotation):
        return {name.rstrip("s") or name: _example(name, arguments[1], notes, registry, depth)}
    if is_sequence(annotation) and arguments:
        count = len(arguments) if origin is tuple and arguments[-1] is not ... else 1
        return [_example(name, arguments[0], notes, registry, depth)] * count
    for note in notes:
        if isinstance(note, Slot):
            return _example_component(note.kind, registry, depth)
        if isinstance(note, Input):
            return f"path/to/{note.artifact}"
    if arguments:  # of a union, the first one
        return _example(name, arguments[0], notes, registry, depth)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        if example := getattr(annotation, "EXAMPLE", None):
            return dict(example)
        keys = {n: k for n, k in dataclass_keys(annotation).items() if k.default is REQUIRED}
        return {n: _example(n, key.annotation, (), registry, depth) for n, key in keys.items()}
    return _example_value(name, annotation, notes)


def _example_component(kind: str, registry: Registry, depth: int) -> dict[str, Any]:
    """The component of a kind that needs the fewest keys."""
    found = registry.of_kind(kind)
    if not found or depth == 0:
        return {"use": f"SOME_{kind.upper()}"}

    def needs(registration: Registration) -> int:
        return sum(key.default is REQUIRED for key in component_schema(registration).keys.values())

    return example_node(min(found, key=needs), registry, depth - 1)


def _example_value(name: str, annotation: Any, notes: tuple[Any, ...]) -> Any:
    if annotation in (int, float):
        range_ = next((note for note in notes if isinstance(note, Range)), None)
        return _within(range_, annotation)
    return {bool: True, Path: f"path/to/{name}"}.get(annotation, name)


def _within(range_: Range | None, kind: type) -> Any:
    low = range_.low if range_ is not None and range_.low is not None else 1
    high = range_.high if range_ is not None and range_.high is not None else low + 1
    return kind(low + 1 if low + 1 < high else (low + high) / 2 if kind is float else high)
