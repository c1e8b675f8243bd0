"""References some keys of which are changed where they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mmtk.recipe.growth import MOST_VALUES
from mmtk.recipe.marks import BROKEN, Marked, Patched, at, is_reference, merge
from mmtk.recipe.problems import Problem, UnreadableError, join

DEEPEST = 30


def apply_patches(root: Marked, problems: list[Problem]) -> Marked:
    """Replace every changed reference in ``root``; what refers to no mapping becomes BROKEN.

    Raises RecipeError where there are too many of them.
    """
    return _Patches(root, problems).apply(root, "")


class _Patches:
    """Turns each changed reference into a copy of what it refers to, with the changes laid over it."""

    def __init__(self, root: Marked, problems: list[Problem]) -> None:
        self.root = root
        self.problems = problems
        self.followed = 0

    def apply(self, node: Marked, path: str, depth: int = 0) -> Marked:
        """Replace the changed references in ``node``; ``depth`` of them have been entered before."""
        value = node.value
        if isinstance(value, Patched):
            self.followed += 1
            if self.followed > MOST_VALUES:
                raise UnreadableError(node.place, f"more than {MOST_VALUES:,} changed references")
            base = self.target(value.reference, path, depth)
            if base.value is BROKEN:
                return base
            changed = merge(base, Marked(value.changes, node.place))
            return self.apply(replace(changed, key_place=node.key_place), path, depth + 1)
        if isinstance(value, Mapping):
            items = {key: self.apply(item, join(path, key), depth) for key, item in value.items()}
            return replace(node, value=items)
        if isinstance(value, list):
            return replace(
                node, value=[self.apply(item, join(path, i), depth) for i, item in enumerate(value)]
            )
        return node

    def target(self, reference: Marked, path: str, depth: int) -> Marked:
        """Find the mapping that ``${a.b}`` names, through further references."""
        keys = reference.value[2:-1].replace("[", ".").replace("]", "").split(".")
        found = at(self.root, keys)
        fault = "names no mapping whose keys could be changed here"
        if depth > DEEPEST:
            fault = "contains itself"
        elif found is not None:
            if isinstance(found.value, Mapping) or found.value is BROKEN:
                return found
            if isinstance(found.value, Patched):
                return self.apply(found, path, depth + 1)
            if is_reference(found):
                return self.target(found, path, depth + 1)
        self.problems.append(Problem(reference.place, path, f"{reference.value} {fault}"))
        return Marked(BROKEN, reference.place)
