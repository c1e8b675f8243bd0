"""What the ``${…}`` of a text read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmtk.recipe.marks import BROKEN, INTERPOLATION, Marked, at, is_reference

MOST_JUMPS = 100
Keys = tuple[str, ...]
REFERENCE = re.compile(r"(\\*)\$\{\s*(\.*)([^${}:]*)(?=(\}|\$|:|))")


@dataclass(frozen=True)
class Read:
    """One ``${…}``.

    Attributes:
        keys: what it reads, from the top of the recipe.
        whole: whether that is all it says; a path that is put together (``${a.${b}}``) reads below ``keys``.
    """

    keys: Keys
    whole: bool


def reads(text: str, keys: Keys) -> Iterator[Read]:
    """Give what a text at ``keys`` reads: nothing by calls (``${env:NAME}``) and by what is escaped."""
    for slashes, dots, path, end in REFERENCE.findall(text):
        if len(slashes) % 2 or end == ":":
            continue
        parts = path.replace("[", ".").replace("]", "").split(".")
        if end != "}":
            parts.pop()
        # One dot is the mapping that the text stands in.
        above = keys[: max(len(keys) - len(dots), 0)] if dots else ()
        yield Read((*above, *(part.strip() for part in parts if part.strip())), end == "}")


@dataclass(frozen=True)
class Found:
    """What lies at a path of the recipe, and the path that it was written at."""

    keys: Keys
    node: Marked


def find(root: Marked, keys: Keys) -> Found | None:
    """Go to ``keys``, through references on the way, and return what was written there.

    Where the way leads through a part whose fault was reported, or through a text that only OmegaConf can
    follow, it ends there. Returns None where there is no such key.
    """
    node = root
    walked: Keys = ()
    jumps = 0
    while len(walked) < len(keys):
        inner = at(node, keys[len(walked) : len(walked) + 1])
        if inner is not None:
            node, walked = inner, keys[: len(walked) + 1]
            continue
        if node.value is BROKEN:
            return Found(walked, node)
        if not isinstance(node.value, str) or INTERPOLATION not in node.value:
            return None
        target = target_of(node, walked)
        jumps += 1
        if target is None or jumps > MOST_JUMPS:
            return Found(walked, node)
        keys = (*target, *keys[len(walked) :])
        node, walked = root, ()
    return Found(walked, node)


def target_of(node: Marked, keys: Keys) -> Keys | None:
    """Return what a value at ``keys`` refers to; None for a value that is more or less than one reference."""
    found = [*reads(node.value, keys)] if is_reference(node) else []
    return found[0].keys if found and found[0].whole else None
