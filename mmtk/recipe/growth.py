"""How large a recipe becomes when its references are followed: a few lines can stand for more than fits."""

from __future__ import annotations

from mmtk.recipe.marks import Marked, at
from mmtk.recipe.problems import UnreadableError
from mmtk.recipe.reads import Keys, parts

MOST_VALUES = 100_000  # a large recipe has a few hundred
TOO_MANY = f"more than {MOST_VALUES:,} values, its references followed"
DEEPEST = 40  # mappings and lists within each other; the deepest recipe has a dozen
LONG_TEXT = 1000  # characters that count as one value more


def refuse_growth(root: Marked) -> None:
    """Raises RecipeError, with the innermost place, where references would make too many values."""
    try:
        _Growth(root).size(())
    except RecursionError:
        raise UnreadableError(root.place, "references follow each other too deeply") from None


class _Growth:
    def __init__(self, root: Marked) -> None:
        self.root = root
        self.sizes: dict[Keys, int] = {}

    def size(self, keys: Keys) -> int:
        """Count the values at ``keys`` with those that they refer to. What refers to itself counts once."""
        if keys in self.sizes:
            return self.sizes[keys]
        node = at(self.root, keys)
        if node is None:
            return 1
        self.sizes[keys] = 1
        self.sizes[keys] += sum(self.size(part) for part in parts(self.root, keys))
        if isinstance(node.value, str):
            self.sizes[keys] += len(node.value) // LONG_TEXT
        if self.sizes[keys] > MOST_VALUES:
            raise UnreadableError(node.place, TOO_MANY)
        return self.sizes[keys]
