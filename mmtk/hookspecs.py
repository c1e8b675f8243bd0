"""The hooks that a plugin can implement. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from mmtk.commands import Command
    from mmtk.registry import Component

PROJECT_NAME = "mmtk"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def mmtk_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return the components that this plugin offers.

    Called once when plugins are listed, so the plugin's module must import no torch: a component
    names its factory and its config as import strings (``"package.module:attribute"``).
    """


@hookspec
def mmtk_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Return the commands that this plugin adds to the program ``mmtk``.

    A command names its module as an import string; it is imported when the command is called or its own
    ``--help`` is asked, and not before. A plugin whose command has the name of one of mmtk's own, or of
    another plugin's, is quarantined.
    """
