"""References that lead back to themselves."""

from __future__ import annotations

from dataclasses import replace

from mmtk.recipe.marks import BROKEN, Marked, at, map_values
from mmtk.recipe.problems import Problem
from mmtk.recipe.reads import Keys, parts


def break_circles(root: Marked, problems: list[Problem]) -> Marked:
    """Report each circle of references once, and put BROKEN in the place of every text that is in one."""
    search = _Search(root, problems)
    search.visit(())
    if not search.broken:
        return root
    return map_values(root, lambda node, keys: replace(node, value=BROKEN) if keys in search.broken else node)


class _Search:
    def __init__(self, root: Marked, problems: list[Problem]) -> None:
        self.root = root
        self.problems = problems
        self.broken: set[Keys] = set()
        self.above: dict[Keys, None] = {}  # in the order in which they were entered
        self.done: set[Keys] = set()

    def visit(self, keys: Keys) -> None:
        """Look at what a value is made of, and what that is made of."""
        if keys in self.done:
            return
        if keys in self.above:
            order = list(self.above)
            self.report(order[order.index(keys) :])
            return
        self.above[keys] = None
        for part in parts(self.root, keys):
            self.visit(part)
        del self.above[keys]
        self.done.add(keys)

    def report(self, circle: list[Keys]) -> None:
        texts = [keys for keys in circle if isinstance(self.value(keys), str)]
        if not self.broken.isdisjoint(texts):
            return
        self.broken.update(texts)
        start = circle.index(texts[0])
        shown = " -> ".join(_dotted(keys) for keys in (*circle[start:], *circle[: start + 1]))
        first = at(self.root, texts[0])
        assert first is not None
        fault = f"{first.value}: values refer to each other in a circle: {shown}"
        self.problems.append(Problem(first.place, _dotted(texts[0]), fault))

    def value(self, keys: Keys) -> object:
        node = at(self.root, keys)
        return None if node is None else node.value


def _dotted(keys: Keys) -> str:
    return ".".join(keys) or "the recipe"
