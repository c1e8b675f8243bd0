"""Definitions that a layer of the recipe adds and nothing reads: most are misspelt."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmtk.recipe.marks import Marked, Patched, Place, at
from mmtk.recipe.problems import Problem
from mmtk.recipe.reads import Keys, reads
from mmtk.registry import nearest

SECTION = ("definitions",)
PROFILES = ("profiles",)
MOST_HINTED = 2  # levels of definitions in which a hint is looked for: what lies deeper is a component's
NO_HINTS = ("use", "from")
MOST_HINTS = 20
NOTHING: Mapping[str, Marked] = {}


@dataclass(frozen=True)
class _Added:
    keys: Keys
    item: Marked
    recipe: Marked  # with the layer that added it


class Definitions:
    """Follows the layers of a recipe: what each adds to the definitions, and what any of them reads."""

    def __init__(self) -> None:
        self.added: list[_Added] = []
        # What is read, and what a part is read of; each with where the texts stand that read it.
        self.read: dict[Keys, set[Keys]] = {}
        self.read_in_part: dict[Keys, set[Keys]] = {}

    def base(self, recipe: Marked) -> None:
        """Note what a recipe reads that is on top of none; it may define more than that."""
        self._compare(None, recipe, (), recipe)

    def layer(self, before: Marked, after: Marked) -> None:
        """Note what was laid over a recipe."""
        self._compare(before, after, (), after)

    def extended_layer(self, before: Marked, after: Marked) -> None:
        """Note what a recipe reads that others extend; what it adds may be meant for those."""
        count = len(self.added)
        self.layer(before, after)
        del self.added[count:]

    def _compare(self, before: Marked | None, after: Marked, keys: Keys, recipe: Marked) -> None:
        if after is before:
            return
        value = after.value
        if isinstance(value, str):
            reader = keys[2:] if keys[:1] == PROFILES else keys  # where it stands once its profile is chosen
            for read in reads(value, reader):
                self.read.setdefault(read.keys, set()).add(reader)
                for length in range(1, len(read.keys)):
                    self.read_in_part.setdefault(read.keys[:length], set()).add(reader)
        elif isinstance(value, Patched):
            self._compare(None, value.reference, keys, recipe)
            for key, item in value.changes.items():
                self._compare(None, item, (*keys, key), recipe)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._compare(None, item, (*keys, str(index)), recipe)
        elif isinstance(value, Mapping):
            known = _comparable(before, after)
            for key, item in value.items():
                inner = (*keys, key)
                earlier = known.get(key) if known is not None else None
                if earlier is None and known is not None:
                    if keys[:1] == SECTION:
                        self.added.append(_Added(inner, item, recipe))
                    elif inner == SECTION:
                        earlier = Marked(NOTHING, item.place)
                self._compare(earlier, item, inner, recipe)

    def unread(self, recipe: Marked) -> Iterator[Problem]:
        """Report each added definition of which nothing reads a part, nor the mapping that it lies in."""
        waiting = [one for one in self.added if not self._is_read(one.keys)]
        aliased = _Aliases()
        unread = [one for one in waiting if not aliased.has(one)]
        misspelt = {one.keys for one in unread}
        section = at(recipe, SECTION)
        known = [keys for keys in _paths(section, SECTION) if keys not in misspelt] if section else []
        for number, one in enumerate(unread):
            path = ".".join(one.keys)
            near = _near(one.keys, known) if number < MOST_HINTS else None
            hint = f"did you mean {near}?" if near else f"write ${{{path}}} where it is wanted"
            yield Problem(one.item.named_at, path, f"a new definition that nothing reads; {hint}")

    def _is_read(self, keys: Keys) -> bool:
        above = (self.read.get(keys[:length], ()) for length in range(len(keys) + 1))
        readers = itertools.chain(self.read_in_part.get(keys, ()), *above)
        return any(by[: len(keys)] != keys for by in readers)


class _Aliases:
    """Finds values that a YAML alias has taken over to another place of their recipe."""

    def __init__(self) -> None:
        self.counts: dict[int, Counter[Place]] = {}

    def has(self, added: _Added) -> bool:
        """Whether the definition, or a part of it, stands elsewhere as well."""
        counts = self.counts.setdefault(id(added.recipe), Counter())
        if not counts:
            counts.update(_places(added.recipe))
        return any(counts[place] > count for place, count in Counter(_places(added.item)).items())


def _comparable(before: Marked | None, after: Marked) -> Mapping[str, Marked] | None:
    """Return the keys that a mapping had; None where another value or component stood there."""
    if before is None or not isinstance(before.value, Mapping):
        return None
    used, uses = before.value.get("use"), after.value.get("use")
    same = (used and used.value) == (uses and uses.value)
    return before.value if same else None


def _places(node: Marked) -> Iterator[Place]:
    """Give the places of all values in ``node``."""
    yield node.place
    value = node.value.changes if isinstance(node.value, Patched) else node.value
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _places(item)


def _paths(node: Marked, keys: Keys) -> Iterator[Keys]:
    for key, item in node.value.items() if isinstance(node.value, Mapping) else ():
        yield (*keys, key)
        yield from _paths(item, (*keys, key))


def _near(keys: Keys, known: list[Keys]) -> str | None:
    """Return the path of the definition with the nearest name: of those beside it, or else of the upper."""
    known = [one for one in known if one[-1] not in NO_HINTS]
    beside = [one for one in known if one[:-1] == keys[:-1]]
    upper = [one for one in known if len(one) <= len(SECTION) + MOST_HINTED]
    for group in (beside, upper):
        near = nearest(keys[-1], [one[-1] for one in group])
        if near:
            return ".".join(next(one for one in group if one[-1] == near))
    return None
