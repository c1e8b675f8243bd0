"""Components by kind and name, imported when they are first built and not before."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmtk.errors import PluginError, RecipeError
from mmtk.events import Listeners

CLOSE = 0.5
_SEVERAL = {"negatives": "a sampler of negatives", "weights": "a source of weights"}  # kinds in the plural
OWN = "mmtk"  # the distribution whose plugins come with mmtk


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


@dataclass(frozen=True)
class Registration:
    """A component and where it comes from."""

    component: Component
    plugin: str
    distribution: str
    version: str

    @property
    def qualified_name(self) -> str:
        return f"{self.plugin}/{self.component.name}"

    @property
    def origin(self) -> str:
        """The plugin, its distribution and its version, for messages."""
        return f"{self.plugin}/{self.distribution} {self.version}"

    @property
    def described(self) -> str:
        """The component with its origin, for messages."""
        return f"{self.component.kind} '{self.component.name}' (from {self.origin})"

    def factory(self) -> Callable[..., Any]:
        """Import the factory. Raises PluginError when that fails, or it can't be called."""
        factory: Callable[..., Any] = self._import("factory", self.component.factory)
        if not callable(factory):
            what, spec = a_kind(type(factory).__name__), self.component.factory
            raise PluginError(f"the factory of {self.described}, {spec}, is {what}, which can't be called")
        return factory

    def import_fault(self) -> str | None:
        """Import the factory of a component from outside; say why it can't be.

        mmtk's own are known to be there, and importing them takes seconds.
        """
        if self.distribution == OWN:
            return None
        try:
            self.factory()
        except PluginError as error:
            return str(error)
        return None

    def config(self) -> type | None:
        """Import the config dataclass; None where there is none. Raises PluginError when that fails."""
        if self.component.config is None:
            return None
        with contextlib.redirect_stdout(sys.stderr):  # it may print, and a command's output be JSON
            config: type = self._import("config", self.component.config)
        return config

    def _import(self, what: str, spec: str) -> Any:
        try:
            return import_attribute(spec)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"the {what} of {self.described}, {spec}, can't be imported: {type(error).__name__}: {error}"
            ) from error


@dataclass(frozen=True)
class Missing:
    """The plugins whose components and commands are missing, each with the reason.

    Attributes:
        broken: those that can't be used.
        left_out: those that the user has asked not to load.
    """

    broken: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def of(self, plugin: str) -> str | None:
        """Say what has become of a plugin, if it is missing."""
        if plugin in self.left_out:
            return f"plugin '{plugin}' is left out ({self.left_out[plugin]})"
        return f"plugin '{plugin}' is broken: {self.broken[plugin]}" if plugin in self.broken else None

    def notes(self, offers: str, near: str | None) -> str:
        """What to add to the message that something unknown was asked for, which a missing plugin may offer.

        Args:
            offers: what it may be, such as "components".
            near: a near spelling of what was asked for, which makes a plugin's fault less likely.
        """
        if near is None:
            said = [f" ({self.of(plugin)}; its {offers} are missing)" for plugin in self.broken]
            return "".join([*said, *self._notes_of_left_out(offers)])
        if not self.broken:
            return ""
        return f" ({offers} of broken plugins are missing: {', '.join(self.broken)}; see 'mmtk list-plugins')"

    def _notes_of_left_out(self, offers: str) -> Iterator[str]:
        """One note for all plugins that are left out for one reason."""
        for reason in dict.fromkeys(self.left_out.values()):
            names = [f"'{name}'" for name, why in self.left_out.items() if why == reason]
            if len(names) == 1:
                yield f" (plugin {names[0]} is left out ({reason}); its {offers} are missing)"
            else:
                yield f" (plugins {', '.join(names)} are left out ({reason}); their {offers} are missing)"


class Registry:
    """Every component of the plugins that work, and the reasons of those that don't.

    A component is found by its name, or by its qualified name ``PLUGIN/NAME``, which always works. Where
    several plugins offer one name, it means the component that comes with mmtk, so that what worked still
    works when a package is installed; where none of them comes with mmtk, only the qualified names work.
    """

    def __init__(
        self,
        registrations: Iterable[Registration] = (),
        broken: Mapping[str, str] | None = None,
        listeners: Listeners | None = None,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        """Take the components, who hears of events, and by their names why plugins are broken or left out.

        Raises:
            PluginError: one plugin offers two components of one kind and name.
        """
        self.missing = Missing(dict(broken or {}), dict(left_out or {}))
        self.listeners = listeners or Listeners()
        self._kinds: dict[str, dict[str, Registration]] = {}
        self._preferred: frozenset[str] = frozenset()
        for registration in registrations:
            kind = self._kinds.setdefault(registration.component.kind, {})
            if registration.qualified_name in kind:
                raise PluginError(
                    f"plugin '{registration.plugin}' offers {registration.component.kind}"
                    f" '{registration.component.name}' twice"
                )
            kind[registration.qualified_name] = registration

    def of_kind(self, kind: str) -> list[Registration]:
        """Every component of ``kind``, by qualified name."""
        return [registration for _name, registration in sorted(self._kinds.get(kind, {}).items())]

    def preferring(self, plugins: Iterable[str]) -> Registry:
        """The same components, but a name that several plugins offer means that of the one in ``plugins``.

        For what was stored with the names of its plugins, when others weren't installed yet.
        """
        other = copy.copy(self)
        other._preferred = frozenset(plugins)
        return other

    def get(self, kind: str, name: str) -> Registration:
        """Find the component ``name`` or ``PLUGIN/NAME`` of ``kind``.

        Raises:
            RecipeError: there is none, or only plugins that don't come with mmtk offer one of this name, and
                several do; says which names there are.
        """
        if meant := self._meant(kind, name):
            return meant
        found = self._called(kind, name)
        if not found:
            raise RecipeError(self._unknown(kind, name))
        offers = " or ".join(f"'{one.qualified_name}' ({one.distribution} {one.version})" for one in found)
        raise RecipeError(f"{kind} '{name}' is offered by several plugins; write {offers}")

    def of_default(self, kind: str, name: str, plugin: str) -> Registration:
        """Find what ``name`` means in a default that ``plugin`` declares: its own component before any other.

        Raises RecipeError as ``get`` does.
        """
        return self._kinds.get(kind, {}).get(f"{plugin}/{name}") or self.get(kind, name)

    def spelling(self, registration: Registration) -> str:
        """What a recipe writes for a component: its name, or the qualified one where that means another."""
        component = registration.component
        alone = self._meant(component.kind, component.name) is registration
        return component.name if alone else registration.qualified_name

    def _called(self, kind: str, name: str) -> list[Registration]:
        return [one for one in self.of_kind(kind) if name in (one.component.name, one.qualified_name)]

    def _meant(self, kind: str, name: str) -> Registration | None:
        """The component that a name means; None where it means none, or several alike."""
        found = self._called(kind, name)
        preferred = [one for one in found if one.plugin in self._preferred]
        own = [one for one in found if one.distribution == OWN]
        return next((some[0] for some in (found, preferred, own) if len(some) == 1), None)

    def _unknown(self, kind: str, name: str) -> str:
        if "/" in name and (missing := self.missing.of(name.partition("/")[0])):
            return f"{kind} '{name}' can't be used: {missing}"
        spellings = {
            spelling for one in self.of_kind(kind) for spelling in (one.component.name, one.qualified_name)
        }
        near = nearest(name, spellings)
        hint = f"did you mean '{near}'?" if near else self._alternatives(kind, name)
        return f"unknown {kind} '{name}'; {hint}{self.missing.notes('components', near)}"

    def _alternatives(self, kind: str, name: str) -> str:
        if kinds := sorted(other for other in self._kinds if self._has(other, name)):
            return f"there is {a_kind(kinds[0])} of this name, but {a_kind(kind)} is needed here"
        names = sorted({one.component.name for one in self.of_kind(kind)})
        return f"there are: {', '.join(names)}" if names else f"no plugin offers {a_kind(kind)}"

    def _has(self, kind: str, name: str) -> bool:
        return any(name in (one.component.name, one.qualified_name) for one in self.of_kind(kind))


def a_kind(kind: str) -> str:
    """Return a kind with its article, for messages."""
    if kind in _SEVERAL:
        return _SEVERAL[kind]
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of ``names`` that ``name`` is most likely a misspelling of, if there is any."""
    near = difflib.get_close_matches(name, sorted(names), n=1, cutoff=CLOSE)
    return near[0] if near else None


def spelling_hint(name: str, names: Iterable[str]) -> str:
    """Ask whether the nearest of ``names`` was meant, or list them where none is near."""
    known = list(names)
    near = nearest(name, known)
    return f"did you mean '{near}'?" if near else f"there are: {', '.join(known) or 'none'}"


def import_attribute(spec: str) -> Any:
    """Import ``"module:attribute"``; the attribute may be dotted."""
    module, _colon, attribute = spec.partition(":")
    found: Any = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    return found
