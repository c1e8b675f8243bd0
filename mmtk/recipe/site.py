"""Where the check is: which key, of which component, and where to put what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mmtk.recipe.marks import Place
from mmtk.recipe.problems import Problem, join


class Invalid:
    """Stands for a value whose fault has been reported."""

    def __repr__(self) -> str:
        return "INVALID"


INVALID = Invalid()


@dataclass(frozen=True)
class Site:
    """A key of a recipe while it is checked.

    Attributes:
        path: the key, from the top.
        problems: where faults are collected.
        owner: the component that the key belongs to, for messages: ``itm, from blip/mmtk 0.1.0``.
        plugin: the plugin of that component.
        default_of: the plugin whose default the value is; empty for what a recipe says.
        above: the mappings that the key lies in, from the top, each by its path, with the keys it may have.
    """

    path: str
    problems: list[Problem]
    owner: str = ""
    plugin: str = ""
    default_of: str = ""
    above: tuple[tuple[str, frozenset[str]], ...] = ()

    def below(self, key: object) -> Site:
        return replace(self, path=join(self.path, key))

    def of(self, owner: str, plugin: str = "") -> Site:
        return replace(self, owner=owner, plugin=plugin)

    def filled(self) -> Site:
        """The same site with a value that its component's plugin has given as the default."""
        return replace(self, default_of=self.plugin)

    def within(self, keys: Iterable[str]) -> Site:
        """The same site as a mapping that may have ``keys``."""
        return replace(self, above=(*self.above, (self.path, frozenset(keys))))

    def owner_of(self, key: str) -> str | None:
        """Return the path of the innermost mapping around this one that may have ``key``, if there is any."""
        return next((path for path, keys in reversed(self.above) if key in keys), None)

    def trial(self) -> Site:
        """The same site with a list of its own, to try a reading without reporting its faults."""
        return replace(self, problems=[])

    def fault(self, place: Place, message: str) -> Invalid:
        """Note what is wrong here."""
        self.problems.append(Problem(place, self.path, message, self.owner))
        return INVALID
