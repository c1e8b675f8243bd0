"""An example of a recipe node: the keys that must be given, with values that pass the check."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from mmtk.config import Address, Input, Range, Slot
from mmtk.errors import MmtkError
from mmtk.recipe.annotations import without_new_types
from mmtk.recipe.schema import REQUIRED, Key, component_schema, dataclass_keys
from mmtk.recipe.wording import is_mapping, is_sequence
from mmtk.registry import Registration, Registry

_DEPTH = 3  # of components in an example's components

Notes = tuple[Any, ...]


class EndlessError(Exception):
    """A config needs another one of itself."""


def example_node(registration: Registration, registry: Registry, depth: int = _DEPTH) -> dict[str, Any]:
    """A node with the keys that must be given, which passes the check but for files that aren't there.

    Raises:
        PluginError: the component can't be read.
    """
    keys = component_schema(registration).keys
    try:
        values = _Examples(registry, depth).keys(keys)
    except EndlessError:  # nothing passes
        values = {name: f"SOME_{name.upper()}" for name in _needed(keys)}
    return {"use": registry.spelling(registration), **values}


def _needed(keys: Mapping[str, Key]) -> dict[str, Key]:
    return {name: key for name, key in keys.items() if key.default is REQUIRED}


@dataclasses.dataclass(frozen=True)
class _Examples:
    """Makes values.

    Attributes:
        registry: where components are found.
        depth: how many components may still lie in each other.
        within: the nested configs that are being made.
    """

    registry: Registry
    depth: int
    within: tuple[type, ...] = ()

    def keys(self, keys: Mapping[str, Key]) -> dict[str, Any]:
        """Raises EndlessError where a config can't be without another one of itself; so do the others."""
        return {name: self.value(name, key.annotation) for name, key in _needed(keys).items()}

    def value(self, name: str, annotation: Any, notes: Notes = ()) -> Any:
        annotation = without_new_types(annotation)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.value(name, arguments[0], (*notes, *arguments[1:]))
        if origin is Literal:
            return arguments[0]
        if is_mapping(annotation):
            return self.mapping(name, arguments, notes)
        if is_sequence(annotation):
            return self.sequence(name, origin, arguments, notes)
        for note in notes:
            if isinstance(note, Slot):
                return self.component(note.kind)
            if isinstance(note, Input):
                return f"path/to/{note.artifact}"
        if origin in (typing.Union, types.UnionType):
            return self.member(name, arguments, notes)
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            return self.record(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return next(iter(annotation)).value
        return _plain(name, annotation, notes)

    def mapping(self, name: str, arguments: tuple[Any, ...], notes: Notes) -> dict[str, Any]:
        try:
            return {name.rstrip("s") or name: self.value(name, arguments[1], notes)} if arguments else {}
        except EndlessError:
            return {}

    def sequence(self, name: str, origin: Any, arguments: tuple[Any, ...], notes: Notes) -> list[Any]:
        if origin is tuple and ... not in arguments:
            return [self.value(name, one, notes) for one in arguments]
        try:
            return [self.value(name, one, notes) for one in arguments[:1]]
        except EndlessError:
            return []

    def member(self, name: str, members: tuple[Any, ...], notes: Notes) -> Any:
        """The first member of a union that can be made, null only where there is no other."""
        for one in members:
            if one is type(None):
                continue
            try:
                return self.value(name, one, notes)
            except EndlessError:
                continue
        if type(None) in members:
            return None
        raise EndlessError

    def record(self, config: type) -> dict[str, Any]:
        if example := getattr(config, "EXAMPLE", None):
            return dict(example)
        if config in self.within:
            raise EndlessError
        return dataclasses.replace(self, within=(*self.within, config)).keys(dataclass_keys(config))

    def component(self, kind: str) -> dict[str, Any]:
        """The component of a kind that needs the fewest keys, of those that can be read."""
        counts = {one: _count(one) for one in self.registry.of_kind(kind)}
        found = {one: count for one, count in counts.items() if count is not None}
        if not found or self.depth == 0:
            return {"use": f"SOME_{kind.upper()}"}
        return example_node(min(found, key=lambda one: found[one]), self.registry, self.depth - 1)


def _count(registration: Registration) -> int | None:
    """How many keys a component needs; None for one whose config can't be read."""
    try:
        return len(_needed(component_schema(registration).keys))
    except MmtkError:
        return None


def _plain(name: str, annotation: Any, notes: Notes) -> Any:
    if annotation in (int, float):
        range_ = next((note for note in notes if isinstance(note, Range)), None)
        return _within(range_, annotation)
    named = {bool: True, Path: f"path/to/{name}", Address: f"s3://path/to/{name}", type(None): None}
    return named.get(annotation, name)


def _within(range_: Range | None, kind: type) -> Any:
    low = range_.low if range_ is not None and range_.low is not None else 1
    high = range_.high if range_ is not None and range_.high is not None else low + 1
    return kind(low + 1 if low + 1 < high else (low + high) / 2 if kind is float else high)
