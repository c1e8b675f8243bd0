"""A recipe's data with the place that each part of it was written at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmtk.config import NodeDefault

INTERPOLATION = "${"
REFERENCES = re.compile(r"(\\*)\$\{")


@dataclass(frozen=True)
class Place:
    """Where something was written.

    Attributes:
        source: a file, or ``command line: `` with the argument.
        line: from 1; 0 where the source has no lines.
        column: from 1, in characters of ``text``.
        text: the line itself, to be shown with a message; empty where there is none.
        way: how the value came from there to where it is used, for messages; empty for what is used in place.
    """

    source: str
    line: int = 0
    column: int = 0
    text: str = field(default="", compare=False, repr=False)
    way: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    def come(self, way: str) -> Place:
        """Return the same place of a value that has come another step of the way."""
        return replace(self, way=f"{self.way}; {way}" if self.way else way)


@dataclass(frozen=True)
class Marked:
    """A value with its place.

    Attributes:
        value: a scalar, a list of ``Marked``, a mapping from text to ``Marked``, a ``Patched`` reference, or
            ``BROKEN`` for a part whose fault has been reported already.
        place: where the value begins.
        key_place: where the key stands that the value belongs to; None in a list and at the top.
    """

    value: Any
    place: Place
    key_place: Place | None = None

    @property
    def named_at(self) -> Place:
        """The key's place, or the value's own where it has no key."""
        return self.key_place or self.place


@dataclass(frozen=True)
class Patched:
    """A ``${…}`` reference to a mapping, some keys of which are changed here and only here."""

    reference: Marked
    changes: Mapping[str, Marked]


class _Broken:
    def __repr__(self) -> str:
        return "BROKEN"


BROKEN = _Broken()


def mark(value: Any, place: Place) -> Marked:
    """Put one place on plain data and everything in it. A ``NodeDefault`` becomes its mapping."""
    if isinstance(value, NodeDefault):
        value = {"use": value.use, **value.keys}
    if isinstance(value, Mapping):
        return Marked(
            {key: replace(mark(item, place), key_place=place) for key, item in value.items()}, place
        )
    if isinstance(value, list | tuple):
        return Marked([mark(item, place) for item in value], place)
    return Marked(value, place)


def plain(marked: Marked, broken: Any = None) -> Any:
    """Return the data without its places, with ``broken`` in the place of each broken part."""
    value = marked.value
    if isinstance(value, Mapping):
        return {key: plain(item, broken) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, broken) for item in value]
    return broken if value is BROKEN else value


def is_reference(marked: Marked) -> bool:
    """Whether the value is nothing but one ``${…}``."""
    text = marked.value
    return (
        isinstance(text, str)
        and text.startswith(INTERPOLATION)
        and text.endswith("}")
        and text.count(INTERPOLATION) == 1
    )


def literal(text: str) -> str:
    """Return the text that stands for ``text`` itself, where it would otherwise refer to something."""
    return REFERENCES.sub(lambda found: f"{found[1] * 2}\\${{", text)


def merge(base: Marked, patch: Marked) -> Marked:
    """Lay ``patch`` over ``base``: mappings key by key, everything else as a whole.

    A mapping that names another component with ``use:`` replaces the one below it, since the keys of one
    component mean nothing to another.
    """
    if not isinstance(patch.value, Mapping):
        return patch
    if isinstance(base.value, Mapping):
        if "use" in patch.value and _use(base) != _use(patch):
            return patch
        merged = dict(base.value)
        for key, item in patch.value.items():
            merged[key] = merge(merged[key], item) if key in merged else item
        return replace(base, value=merged)
    if "use" in patch.value:
        return patch
    if isinstance(base.value, Patched):
        changes = merge(Marked(base.value.changes, base.place), patch).value
        return replace(base, value=replace(base.value, changes=changes))
    if is_reference(base):
        return replace(base, value=Patched(base, patch.value))
    return patch


def _use(marked: Marked) -> Any:
    use = marked.value.get("use")
    return use.value if use else None


def assign(node: Marked, keys: Sequence[str], value: Marked, places: Sequence[Place]) -> Marked:
    """Return ``node`` with what lies at ``keys`` replaced by ``value``; missing mappings on the way are made.

    Args:
        node: where the keys start.
        keys: of mappings and, as decimals, of lists.
        value: the new value; its ``key_place`` is where its key stands.
        places: where each of the keys stands.

    Raises:
        LookupError: a list on the way has no such index; the message says so.
    """
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(node.value, list):
        if not key.isdecimal() or int(key) >= len(node.value):
            raise LookupError(f"'{key}' is no index of a list of {len(node.value)} (0 is the first)")
        items = list(node.value)
        items[int(key)] = assign(items[int(key)], rest, value, places[1:])
        return replace(node, value=items)
    if is_reference(node):
        node = replace(node, value=Patched(node, {}))
    if isinstance(node.value, Patched):
        changes = assign(Marked(node.value.changes, node.place), keys, value, places).value
        return replace(node, value=replace(node.value, changes=changes))
    mapping = dict(node.value) if isinstance(node.value, Mapping) else {}
    inner = mapping.get(key, Marked({}, places[0], places[0]))
    mapping[key] = assign(inner, rest, value, places[1:])
    return replace(node, value=mapping)


def at(node: Marked, keys: Iterable[str]) -> Marked | None:
    """Return what lies at ``keys`` below ``node``; None where nothing does."""
    for key in keys:
        if isinstance(node.value, list) and key.isdecimal() and int(key) < len(node.value):
            node = node.value[int(key)]
        elif isinstance(node.value, Mapping) and key in node.value:
            node = node.value[key]
        else:
            return None
    return node


def map_values(
    node: Marked, change: Callable[[Marked, tuple[str, ...]], Marked], keys: tuple[str, ...] = ()
) -> Marked:
    """Return ``node``, which lies at ``keys``, with ``change`` applied to all that is no mapping and no list.

    ``change`` is given such a value and where it lies.
    """
    value = node.value
    if isinstance(value, Mapping):
        items = {key: map_values(item, change, (*keys, key)) for key, item in value.items()}
        return replace(node, value=items)
    if isinstance(value, list):
        numbered = [map_values(item, change, (*keys, str(index))) for index, item in enumerate(value)]
        return replace(node, value=numbered)
    return change(node, keys)
