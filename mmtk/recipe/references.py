"""``{from: STAGE.OUTPUT}``: an input that another stage of the recipe makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmtk.registry import Registration, Registry
from mmtk.types import ComponentNode


@dataclass(frozen=True)
class Reference:
    """The output ``output`` of the stage ``stage``."""

    stage: str
    output: str

    def __str__(self) -> str:
        return f"{self.stage}.{self.output}"


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a node, or anything inside one, with ``change`` applied to whatever holds no values itself."""
    if isinstance(value, Reference):
        return change(value)
    if isinstance(value, ComponentNode):
        return dataclasses.replace(value, keys=map_leaves(value.keys, change))
    if isinstance(value, Mapping):
        return {key: map_leaves(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_leaves(item, change) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(
            value, **{name: map_leaves(getattr(value, name), change) for name in fields}
        )
    return change(value)


def leaves(value: Any) -> Iterator[Any]:
    """Give every value in a node that holds no others, and every node itself before its keys."""
    if isinstance(value, ComponentNode):
        yield value
        yield from leaves(value.keys)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type | Reference):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name))
    else:
        yield value


def registrations(value: Any, registry: Registry) -> list[Registration]:
    """Return what every component in a node is registered as, the node's own first.

    Raises RecipeError when no plugin offers one of them.
    """
    return [registry.get(leaf.kind, leaf.use) for leaf in leaves(value) if isinstance(leaf, ComponentNode)]
