"""Everything a plugin may import that needs no torch. Heavier helpers live in the modules the guide names."""

from mmtk.config import Input, NodeDefault, Range, Slot, node, nodes
from mmtk.errors import CheckpointError, DataError, MmtkError, PluginError, RecipeError, StageError
from mmtk.hookspecs import hookimpl
from mmtk.kinds import *  # noqa: F403
from mmtk.registry import Component
from mmtk.stages.context import Output, StageContext
from mmtk.types import *  # noqa: F403

__all__ = [
    "CheckpointError", "Component", "DataError", "Input", "MmtkError", "NodeDefault", "Output", "PluginError",
    "Range", "RecipeError", "Slot", "StageContext", "StageError", "hookimpl", "node", "nodes",
]
