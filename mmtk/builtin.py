"""The host's own components, offered through the same hook as everyone's."""

from __future__ import annotations

from mmtk.data.components import COMPONENTS as DATA
from mmtk.engine.components import COMPONENTS as ENGINE
from mmtk.hookspecs import hookimpl
from mmtk.registry import Component
from mmtk.report.components import COMPONENTS as REPORT


@hookimpl
def mmtk_components() -> list[Component]:
    return [*DATA, *ENGINE, *REPORT]
