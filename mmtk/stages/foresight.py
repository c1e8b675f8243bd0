"""What keeps a recipe's stages from running on this machine, asked before any stage has run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtk.errors import MmtkError
from mmtk.recipe.build import blueprint
from mmtk.recipe.references import leaves, registrations
from mmtk.stages.environment import resolve_device
from mmtk.types import ComponentNode

if TYPE_CHECKING:
    from mmtk.recipe import CheckedRecipe, CheckedStage
    from mmtk.registry import Registry

# They run wherever torch does, so that nobody has to import it to ask them.
ANYWHERE = frozenset({"builtin/single", "builtin/ddp"})
SEVERAL = 2


def refusals(checked: CheckedRecipe, registry: Registry, ranks: int) -> dict[str, str]:
    """Say why stages can't train on ``ranks`` processes of this machine, by the stage's name."""
    found = {}
    for name, stage in checked.stages.items():
        for node in strategies(stage):
            build = blueprint(node, registry, inputs_of(checked, stage)).build
            if reason := _refusal(build, checked.device, ranks):
                found[name] = reason
    return found


def import_fault(stage: CheckedStage, registry: Registry) -> str | None:
    """Import the factory of every component from outside that a stage names, and say which one can't be."""
    faults = (one.import_fault() for one in registrations(stage.node, registry))
    return next(filter(None, faults), None)


def doubts(checked: CheckedRecipe, registry: Registry) -> Iterator[str]:
    """Say what may keep the recipe's stages from training on several processes of this machine.

    It imports torch only for a recipe whose strategy may need more than torch.
    """
    demanding = (
        registry.get("strategy", node.use).qualified_name not in ANYWHERE
        for stage in checked.stages.values()
        for node in strategies(stage)
    )
    if any(demanding):
        for name, reason in refusals(checked, registry, SEVERAL).items():
            yield f"stage '{name}': {reason}"


def strategies(stage: CheckedStage) -> Iterator[ComponentNode]:
    """Find the strategies that a stage names."""
    for leaf in leaves(stage.node):
        if isinstance(leaf, ComponentNode) and leaf.kind == "strategy":
            yield leaf


def inputs_of(checked: CheckedRecipe, stage: CheckedStage) -> dict[str, Path]:
    """Where the outputs lie that a stage reads, by ``STAGE.OUTPUT``."""
    folder = checked.run_dir.absolute()
    return {
        f"{source}.{output}": folder / source / checked.stages[source].outputs[output].path
        for source, output in stage.inputs
    }


def _refusal(build: Callable[[], Any], device: str, ranks: int) -> str | None:
    try:
        strategy = build()
        here = resolve_device(device).partition(":")[0]
    except MmtkError as error:
        return str(error)
    reason: str | None = strategy.refusal(here, ranks) if hasattr(strategy, "refusal") else None
    return reason
