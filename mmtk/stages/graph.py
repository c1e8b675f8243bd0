"""The order in which a recipe's stages can run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mmtk.errors import RecipeError

if TYPE_CHECKING:
    from mmtk.recipe import CheckedRecipe


def execution_order(reads: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the stages so that each one comes behind all that it reads from.

    Stages that don't depend on each other keep the recipe's order, so one recipe always runs in one order.

    Args:
        reads: every stage in the recipe's order, with the stages whose outputs it reads.

    Raises:
        RecipeError: stages read each other in a circle, or one reads a stage that isn't there.
    """
    waiting = {stage: set(sources) for stage, sources in reads.items()}
    for stage, sources in waiting.items():
        if unknown := sorted(sources - waiting.keys()):
            raise RecipeError(f"stage '{stage}' reads from '{unknown[0]}', which is no stage of this recipe")
    order: list[str] = []
    while waiting:
        ready = next((stage for stage, sources in waiting.items() if sources.isdisjoint(waiting)), None)
        if ready is None:
            circle = " -> ".join(_circle(waiting))
            raise RecipeError(f"stages read each other's outputs in a circle: {circle}")
        order.append(ready)
        del waiting[ready]
    return order


def recipe_order(checked: CheckedRecipe) -> list[str]:
    """Return the stages of a recipe in the order in which they run."""
    stages = checked.stages.items()
    return execution_order({name: {source for source, _output in stage.inputs} for name, stage in stages})


def _circle(waiting: Mapping[str, set[str]]) -> list[str]:
    """Follow unmet dependencies until a stage repeats. Every waiting stage has at least one."""
    path = [next(iter(waiting))]
    while True:
        following = min(waiting[path[-1]] & waiting.keys())
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
