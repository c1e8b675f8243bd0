"""What the ``${…}`` of a text read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mmtk.recipe.marks import BROKEN, INTERPOLATION, Marked, Patched, at, is_reference

MOST_JUMPS = 100
Keys = tuple[str, ...]
REFERENCE = re.compile(r"(\\*)\$\{\s*(\.*)([^${}:]*)(?=(\}|\$|:|))")
FROM_END = re.compile(r"-[0-9]{1,9}")


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


def anchored(text: str, keys: Keys, top: int) -> str:
    """Return a text with its relative references counted from the recipe's top where they lead out of a part.

    Args:
        text: what was written.
        keys: where.
        top: how many of the keys lead to that part, which is about to be copied to another place.
    """

    def replaced(match: re.Match[str]) -> str:
        slashes, dots, path, end = match.groups()
        above = keys[: max(len(keys) - len(dots), 0)]
        if not dots or len(above) >= top or len(slashes) % 2 or end not in ("}", "$") or not (above or path):
            return match[0]
        between = "." if above and path and not path.startswith("[") else ""
        return f"{slashes}${{{'.'.join(above)}{between}{path}"

    return REFERENCE.sub(replaced, text)


@dataclass(frozen=True)
class Found:
    """What lies at a path of the recipe, and the path that it was written at."""

    keys: Keys
    node: Marked


def find(root: Marked, keys: Keys, patched: Callable[[Found], Marked] | None = None) -> Found | None:
    """Go to ``keys``, through references on the way, and return what was written there.

    Where the way leads through a part whose fault was reported, or through a text that only OmegaConf can
    follow, it ends there. Returns None where there is no such key. ``patched`` says what a changed reference
    on the way stands for; without it there must be none left.
    """
    node = root
    walked: Keys = ()
    jumps = 0
    while len(walked) < len(keys):
        key = _counted(node, keys[len(walked)])
        inner = at(node, [key])
        if inner is not None:
            node, walked = inner, (*walked, key)
            continue
        if patched and isinstance(node.value, Patched):
            node = patched(Found(walked, node))
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


def parts(root: Marked, keys: Keys) -> Iterator[Keys]:
    """Give the paths of what the value at ``keys`` is made of: its items, or what its text refers to.

    A path that is put together (``${a.${b}}``) gives none.
    """
    node = at(root, keys)
    value = None if node is None else node.value
    if isinstance(value, Mapping):
        yield from ((*keys, key) for key in value)
    elif isinstance(value, list):
        yield from ((*keys, str(index)) for index in range(len(value)))
    elif isinstance(value, str) and INTERPOLATION in value:
        for read in reads(value, keys):
            if read.whole and (found := find(root, read.keys)):
                yield found.keys


def _counted(node: Marked, key: str) -> str:
    """Return an index that counts from the end of a list as one from its start; other keys as they are."""
    if isinstance(node.value, list) and FROM_END.fullmatch(key):
        return str(len(node.value) + int(key))
    return key


def target_of(node: Marked, keys: Keys) -> Keys | None:
    """Return what a value at ``keys`` refers to; None for a value that is more or less than one reference."""
    found = [*reads(node.value, keys)] if is_reference(node) else []
    return found[0].keys if found and found[0].whole else None
