"""What the ``${…}`` of a text read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
    """Give what a text at ``keys`` reads. Calls (``${env:NAME}``) and escaped ones (``\\${a}``) read nothing."""
    for slashes, dots, path, end in REFERENCE.findall(text):
        if len(slashes) % 2 or end == ":":
            continue
        parts = path.replace("[", ".").replace("]", "").split(".")
        if end != "}":
            parts.pop()
        # One dot is the mapping that the text stands in.
        above = keys[: max(len(keys) - len(dots), 0)] if dots else ()
        yield Read((*above, *(part.strip() for part in parts if part.strip())), end == "}")
