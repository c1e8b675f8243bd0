"""What a key takes, and its default, in the words of the reference and of ``mmtk show``."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from mmtk.config import Address, Input, NodeDefault, Range, Slot, Target
from mmtk.recipe.annotations import without_new_types
from mmtk.recipe.schema import REQUIRED
from mmtk.recipe.wording import is_mapping, is_sequence, show

_PLAIN = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "path",
    Address: "address",
    Any: "anything",
}


@dataclasses.dataclass(frozen=True)
class KeyWords:
    """Says what keys take.

    Attributes:
        component: names a kind of component.
        record: names a config dataclass whose fields are nested keys.
    """

    component: Callable[[str], str]
    record: Callable[[type], str]

    def type(self, annotation: Any, notes: Sequence[Any] = ()) -> str:
        """Say what a type takes; ``notes`` are those around it."""
        annotation = without_new_types(annotation)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.type(arguments[0], [*notes, *arguments[1:]])
        if origin in (typing.Union, types.UnionType):
            return " or ".join(dict.fromkeys(self.type(one, notes) for one in arguments))
        if annotation is type(None):
            return "null"
        if origin is Literal:
            return _choices(arguments)
        if is_mapping(annotation):
            return f"mapping of {self.type(arguments[1], notes)}" if arguments else "mapping"
        if is_sequence(annotation):
            return self._list(origin, arguments, notes)
        for note in notes:
            if isinstance(note, Slot):
                return self.component(note.kind)
            if isinstance(note, Input):
                return f"artifact {note.artifact}"
            if isinstance(note, Target):
                return "path that is written"
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            return self.record(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return _choices(one.value for one in annotation)
        bounds = [
            f" {_bounds(note)}" for note in notes if isinstance(note, Range) and annotation in (int, float)
        ]
        plain = _PLAIN.get(annotation) or str(getattr(annotation, "__name__", annotation))
        return "".join([plain, *bounds])

    def _list(self, origin: Any, arguments: tuple[Any, ...], notes: Sequence[Any]) -> str:
        if not arguments:
            return "list"
        length = f"{len(arguments)}: " if origin is tuple and arguments[-1] is not ... else ""
        return f"list of {length}{self.type(arguments[0], notes)}"


def _choices(values: Iterable[Any]) -> str:
    return " or ".join(f"`{_yaml(one)}`" for one in values)


def _bounds(range_: Range) -> str:
    if range_.high is None and range_.low is not None:
        return f"above {range_.low:g}" if range_.low_open else f"from {range_.low:g}"
    if range_.low == 0 and range_.high is not None and range_.high > 2**32:
        return "from 0"
    return f"in {range_}"


def default_words(default: Any) -> str:
    """Write a default as a recipe would; nothing for a key without one."""
    return "" if default is REQUIRED else _yaml(default)


def _yaml(value: Any) -> str:
    if isinstance(value, NodeDefault):
        return _yaml({"use": value.use, **value.keys})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            one.name: getattr(value, one.name)
            for one in dataclasses.fields(value)
            if getattr(value, one.name) != one.default
        }
        return _yaml(changed)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, Enum):
        return _yaml(value.value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else show(value)
    return str(value) if value != "" else '""'
