"""How ``mmtk.api`` finds the names that it imports late, and warns of those that are about to go."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import packages_distributions
from types import FrameType
from typing import Any, NamedTuple

from mmtk.registry import import_attribute

_OWN = ("mmtk.api", "mmtk.facade", "importlib")
_warned: set[tuple[str, str]] = set()


class Deprecated(NamedTuple):
    """A public name that will go.

    Attributes:
        since: the version of the interface in which it was deprecated, ``1.1``.
        instead: what to use in its place, as words that follow "use".
        place: import string ``module:attribute`` of what the name still gives.
    """

    since: str
    instead: str
    place: str


class ApiDeprecationWarning(FutureWarning):
    """A plugin imports a name that will go. Shown without any setting: it is for who maintains the plugin."""


def resolve(module: str, name: str) -> Any:
    """Do what ``from module import name`` does; the name may be a module as well."""
    return getattr(__import__(module, fromlist=[name]), name)


def deprecated(api: str, name: str, entry: Deprecated) -> Any:
    """Return what a deprecated name gives, and warn once for each distribution that asks for it.

    Args:
        api: the module that offers the name.
        name: the deprecated name.
        entry: what is known of it.
    """
    frame = _asking()
    module = frame.f_globals.get("__name__", "__main__") if frame else "__main__"
    user = _distribution(module)
    if frame and (name, user) not in _warned:
        _warned.add((name, user))
        message = (
            f"{api}.{name}, which {user} uses in {module}, is deprecated since {entry.since} and will go:"
            f" use {entry.instead}"
        )
        warnings.warn_explicit(message, ApiDeprecationWarning, frame.f_code.co_filename, frame.f_lineno)
    return import_attribute(entry.place)


def _asking() -> FrameType | None:
    """The frame that asks for a name, behind those of the import machinery."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").startswith(_OWN):
        frame = frame.f_back
    return frame


def _distribution(module: str) -> str:
    """The distribution that brings a module; the module's package where none does, as in a script."""
    package = module.partition(".")[0]
    return next(iter(packages_distributions().get(package, ())), package)
