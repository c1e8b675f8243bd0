"""Which annotations a recipe can fill: a config with any other is refused before a recipe uses it."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, get_args, get_origin

from mmtk.config import Address, Slot
from mmtk.kinds import Blueprint

# Values of other lists and mappings would come as these.
LISTS = (list, tuple, collections.abc.Sequence)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
LEAVES = (int, float, bool, str, Path, Address, type(None), Any, object)
WORDS = (str, int, float)  # what a recipe can write for a choice; a bool is an int


def without_new_types(annotation: Any) -> Any:
    """The type that a ``NewType`` stands for; ``Address`` has a meaning of its own and stays."""
    while isinstance(annotation, NewType) and annotation is not Address:
        annotation = annotation.__supertype__
    return annotation


def refuse_unfillable(annotation: Any, record: Callable[[type], None], slot: bool = False) -> None:
    """Look at an annotation and everything in it.

    Args:
        annotation: of a key.
        record: called with every nested config.
        slot: whether ``Annotated`` around it says which kind of component it takes.

    Raises:
        TypeError: no recipe can fill it; the message says why.
    """
    annotation = without_new_types(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        slot = slot or any(isinstance(note, Slot) for note in arguments[1:])
        return refuse_unfillable(arguments[0], record, slot)
    if origin is Literal:
        return _refuse_choices(f"the choice {annotation}", arguments, (*WORDS, type(None)))
    base = origin or annotation
    if base in MAPPINGS and arguments and without_new_types(arguments[0]) not in (str, Any):
        raise TypeError(f"the keys of a recipe's mappings are texts, so {_name(annotation)} can't be filled")
    if base in (typing.Union, types.UnionType) or base in LISTS or base in MAPPINGS:
        for one in arguments[1:] if base in MAPPINGS else arguments:
            if one is not ...:
                refuse_unfillable(one, record, slot)
        return None
    if slot or base in LEAVES:
        return None
    if base is Blueprint:
        raise TypeError("its type says Blueprint, but no Slot says of which kind")
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return record(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _refuse_choices(f"the enum {_name(annotation)}", [one.value for one in annotation], WORDS)
    raise TypeError(f"the type {_name(annotation)} can't be filled by a recipe")


def _refuse_choices(what: str, values: typing.Iterable[Any], allowed: tuple[type, ...]) -> None:
    values = list(values)
    if not values:
        raise TypeError(f"{what} has no values")
    for value in values:
        # A member of an enum is no word, also where it is a text beside.
        if isinstance(value, Enum) or not isinstance(value, allowed):
            raise TypeError(f"{what} has the value {value!r}, which no recipe can write")


def _name(annotation: Any) -> str:
    plain = isinstance(annotation, type) and not get_args(annotation)
    return annotation.__qualname__ if plain else str(annotation)
