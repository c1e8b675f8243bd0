"""References some keys of which are changed where they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mmtk.recipe.marks import BROKEN, INTERPOLATION, Marked, Patched, is_reference, merge
from mmtk.recipe.problems import Problem, UnreadableError
from mmtk.recipe.reads import Found, Keys, anchored, find, target_of

DEEPEST = 30
MOST_CHANGED = 10_000  # each may copy much of the recipe


def apply_patches(root: Marked, problems: list[Problem]) -> Marked:
    """Replace every changed reference in ``root``; what refers to no mapping becomes BROKEN.

    Raises RecipeError where there are too many of them.
    """
    return _Patches(root, problems).apply(Found((), root))


class _Patches:
    """Turns each changed reference into a copy of what it refers to, with the changes laid over it."""

    def __init__(self, root: Marked, problems: list[Problem]) -> None:
        self.root = root
        self.problems = problems
        self.followed = 0

    def apply(self, origin: Found, depth: int = 0) -> Marked:
        """Replace the changed references in a part; ``depth`` of them have been entered before."""
        node = origin.node
        value = node.value
        if isinstance(value, Patched):
            return self.changed(origin, value, depth)
        if isinstance(value, Mapping):
            items = {key: self.apply(Found((*origin.keys, key), item), depth) for key, item in value.items()}
            return replace(node, value=items)
        if isinstance(value, list):
            numbered = [Found((*origin.keys, str(index)), item) for index, item in enumerate(value)]
            return replace(node, value=[self.apply(item, depth) for item in numbered])
        return node

    def changed(self, origin: Found, patched: Patched, depth: int) -> Marked:
        """Return what one changed reference stands for."""
        node = origin.node
        self.followed += 1
        if self.followed > MOST_CHANGED:
            raise UnreadableError(node.place, f"more than {MOST_CHANGED:,} changed references")
        base = self.target(Found(origin.keys, patched.reference), depth)
        if base.node.value is BROKEN:
            return base.node
        copy = _anchored(base, len(base.keys))
        merged = merge(copy, Marked(patched.changes, node.place))
        return self.apply(Found(origin.keys, replace(merged, key_place=node.key_place)), depth + 1)

    def target(self, reference: Found, depth: int) -> Found:
        """Find the mapping that a reference names, through further references."""
        node = reference.node
        fault = "names no mapping whose keys could be changed here"
        if depth > DEEPEST:
            fault = "contains itself"
        elif found := self.named(reference, depth):
            if isinstance(found.node.value, Mapping) or found.node.value is BROKEN:
                return found
            if isinstance(found.node.value, Patched):
                return replace(found, node=self.apply(found, depth + 1))
            if is_reference(found.node):
                return self.target(found, depth + 1)
        self.problems.append(Problem(node.place, ".".join(reference.keys), f"{node.value} {fault}"))
        return Found(reference.keys, Marked(BROKEN, node.place))

    def named(self, reference: Found, depth: int) -> Found | None:
        keys = target_of(reference.node, reference.keys)
        if keys is None:
            return None
        return find(self.root, keys, lambda patched: self.apply(patched, depth + 1))


def _anchored(part: Found, top: int) -> Marked:
    """Return a part to be copied elsewhere, its references to what lies outside of it kept."""
    node, keys = part.node, part.keys
    value = node.value
    if isinstance(value, str) and INTERPOLATION in value:
        return replace(node, value=anchored(value, keys, top))
    if isinstance(value, Mapping):
        return replace(node, value=_anchored_items(value, keys, top))
    if isinstance(value, list):
        numbered = [Found((*keys, str(index)), item) for index, item in enumerate(value)]
        return replace(node, value=[_anchored(item, top) for item in numbered])
    if isinstance(value, Patched):
        reference = _anchored(Found(keys, value.reference), top)
        return replace(node, value=Patched(reference, _anchored_items(value.changes, keys, top)))
    return node


def _anchored_items(items: Mapping[str, Marked], keys: Keys, top: int) -> dict[str, Marked]:
    return {key: _anchored(Found((*keys, key), item), top) for key, item in items.items()}
