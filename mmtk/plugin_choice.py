"""Which of the installed plugins are loaded: all but those that the user blocks or doesn't pick."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from mmtk.errors import PluginError
from mmtk.registry import spelling_hint

VARIABLE = "MMTK_PLUGINS"
OPTION = "--no-plugin"


@dataclass(frozen=True)
class PluginChoice:
    """What the user says of plugins.

    Attributes:
        blocked: names of plugins that are left out.
        picked: if there are any, plugins of other distributions than mmtk are left out but for these.
    """

    blocked: frozenset[str] = frozenset()
    picked: frozenset[str] = frozenset()

    @classmethod
    def of_environment(cls) -> PluginChoice:
        """Read ``MMTK_PLUGINS``: names that are picked, and names behind ``-`` that are blocked."""
        words = [word.strip() for word in os.environ.get(VARIABLE, "").split(",") if word.strip()]
        return cls(
            frozenset(word[1:] for word in words if word.startswith("-")),
            frozenset(word for word in words if not word.startswith("-")),
        )

    def check(self, names: Collection[str]) -> None:
        """Raises PluginError with the nearest spelling when a name is no plugin's."""
        for name in sorted((self.blocked | self.picked) - set(names)):
            hint = spelling_hint(name, sorted(names))
            raise PluginError(f"{VARIABLE} or {OPTION} names '{name}', which is no plugin; {hint}")

    def leaves_out(self, name: str, own: bool) -> str | None:
        """Why a plugin is left out; None for one that is loaded. ``own``: it comes with mmtk itself."""
        if name in self.blocked:
            return f"blocked by {VARIABLE} or {OPTION}"
        if self.picked and not own and name not in self.picked:
            return f"not among those that {VARIABLE} picks"
        return None


def take_options(arguments: Iterable[str]) -> list[str]:
    """Take ``--no-plugin NAME`` out of a command line, into the environment, which other ranks inherit.

    Of several plugins the names stand in options of their own, or in one with commas between them.

    Raises PluginError for an option without a name.
    """
    rest: list[str] = []
    blocked: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == OPTION:
            name = next(words, "")
        elif word.startswith(f"{OPTION}="):
            name = word.partition("=")[2]
        else:
            rest.append(word)
            continue
        names = [one.strip() for one in name.split(",")]
        if any(not one or one.startswith("-") for one in names):
            raise PluginError(f"{OPTION} needs the name of a plugin; 'mmtk list-plugins' lists them")
        blocked += [f"-{one}" for one in names]
    if blocked:
        os.environ[VARIABLE] = ",".join(filter(None, [os.environ.get(VARIABLE, ""), *blocked]))
    return rest
