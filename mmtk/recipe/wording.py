"""Types and values in the words of messages."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from mmtk.config import Address
from mmtk.recipe.annotations import without_new_types

LONGEST_VALUE = 60
PLAIN: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    Address: "an address (PROTOCOL://…)",
    type(None): "null",
}


def expected(annotation: Any) -> str:
    """Say what a type takes."""
    annotation = without_new_types(annotation)
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return expected(arguments[0])
    if annotation in PLAIN:
        return PLAIN[annotation]
    if origin in (typing.Union, types.UnionType):
        return alternatives(dict.fromkeys(expected(one) for one in arguments))
    if origin is Literal:
        return choices(arguments)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return choices(member.value for member in annotation)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is ...):
        return f"a list of {len(arguments)}: {', '.join(expected(one) for one in arguments)}"
    if is_mapping(annotation):
        return "a mapping"
    if is_sequence(annotation):
        return f"a list, each item {expected(arguments[0])}" if arguments else "a list"
    return "a mapping"


def choices(values: Iterable[Any]) -> str:
    shown = [show(value) for value in values]
    return f"one of {', '.join(shown)}" if len(shown) > 1 else shown[0]


def alternatives(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def show(value: Any) -> str:
    """A value as a recipe would write it; containers by what they are."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 2]}…{text[-1]}"


def is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Mapping)


def is_sequence(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Sequence) and not issubclass(origin, str | bytes)
