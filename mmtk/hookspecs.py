"""The hooks that a plugin can implement. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
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
