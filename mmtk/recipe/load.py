"""Read a recipe: its file, what it extends, profiles, the command line's overrides and its interpolations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmtk.recipe.extends import read_extended
from mmtk.recipe.interpolation import resolve
from mmtk.recipe.marks import Marked, plain
from mmtk.recipe.overrides import apply_overrides
from mmtk.recipe.problems import TOO_DEEP, Problem, UnreadableError
from mmtk.recipe.profiles import apply_profiles
from mmtk.recipe.settings import own_defaults, plugin_defaults
from mmtk.recipe.unread import Definitions
from mmtk.registry import Registry


@dataclass(frozen=True)
class RecipeDocument:
    """A recipe as it was written, with everything in its place.

    Attributes:
        path: its file.
        root: its resolved data, each part with file, line and column.
        problems: what is wrong already; ``check_recipe`` reports it with what it finds itself.
        defaults: the keys that plugins give every recipe; None where they were not asked.
    """

    path: Path
    root: Marked
    problems: tuple[Problem, ...] = ()
    defaults: Mapping[str, Marked] | None = None

    @property
    def data(self) -> Any:
        """The resolved data without places."""
        return plain(self.root)


def load_recipe(
    path: str | Path,
    overrides: Iterable[str] = (),
    profiles: Iterable[str] = (),
    registry: Registry | None = None,
) -> RecipeDocument:
    """Read the recipe at ``path``, lay it over those it extends, and set profiles and overrides.

    Args:
        path: a YAML file.
        overrides: ``key=value`` each, e.g. ``stages.pretrain.epochs=2``; the value is YAML.
        profiles: names of the recipe's profiles, laid over it in this order, below the overrides.
        registry: whose plugins are asked for defaults, so that ``${seed}`` and the like can stand for them.

    Raises:
        RecipeError: a file is missing, is no YAML, or extends itself. Lesser faults go into the document.
    """
    problems: list[Problem] = []
    definitions = Definitions()
    extended = read_extended(Path(path), problems, definitions)
    profiled = apply_profiles(extended, profiles, problems)
    definitions.layer(extended, profiled)
    root = apply_overrides(profiled, overrides, problems)
    definitions.layer(profiled, root)
    problems.extend(definitions.unread(root))
    given = None if registry is None else plugin_defaults(registry, root.place)
    try:
        root = _resolved(root, own_defaults(Path(path), given or {}), problems)
    except RecursionError:
        raise UnreadableError(root.place, TOO_DEEP) from None
    return RecipeDocument(Path(path), root, tuple(problems), given)


def _resolved(root: Marked, defaults: Mapping[str, Marked], problems: list[Problem]) -> Marked:
    """Resolve a recipe; ``defaults`` stand at its top meanwhile, where it has no such key."""
    left_out = {key: value for key, value in defaults.items() if key not in root.value}
    resolved = resolve(replace(root, value={**root.value, **left_out}), problems)
    return replace(resolved, value={key: item for key, item in resolved.value.items() if key in root.value})
