"""Components by kind and name, imported when they are first built and not before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Component:
    """What a plugin says of one component.

    Attributes:
        kind: one of ``mmtk.kinds.KINDS``.
        name: what a recipe writes behind ``use:``.
        factory: import string ``"module:attribute"`` of a callable that takes the config's fields and the
            kind's injected values as keywords.
        config: import string of the config dataclass, in a module that imports no torch; None reads the
            factory's own typed signature, which imports the factory's module.
        summary: one line for ``mmtk list-plugins``.
    """

    kind: str
    name: str
    factory: str
    config: str | None = None
    summary: str = ""
