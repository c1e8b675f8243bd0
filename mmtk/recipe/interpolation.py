"""Replace every ``${…}`` by what it stands for, keeping the places of what was defined elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmtk.recipe.circles import break_circles
from mmtk.recipe.growth import MOST_VALUES, TOO_MANY, refuse_growth
from mmtk.recipe.marks import BROKEN, INTERPOLATION, Marked, Place, at, is_reference, mark, plain
from mmtk.recipe.patches import apply_patches
from mmtk.recipe.problems import Problem, UnreadableError
from mmtk.recipe.reads import MOST_JUMPS, Found, Keys, find, reads, target_of
from mmtk.recipe.syntax import check_syntax
from mmtk.recipe.variables import fill_variables
from mmtk.registry import nearest

OF_BROKEN = "\0of a broken part\0"  # OmegaConf puts it into what is made of such a part


def resolve(root: Marked, problems: list[Problem]) -> Marked:
    """Resolve every interpolation in ``root`` with OmegaConf; what can't be resolved becomes BROKEN.

    Raises RecipeError where references would make far more of a recipe than it can be.
    """
    root = apply_patches(root, problems)
    root = fill_variables(root, problems)
    root = check_syntax(root, problems)
    refuse_growth(root)
    root = break_circles(root, problems)
    config = OmegaConf.create(plain(root, OF_BROKEN))
    resolver = _Resolver(root, config, problems)
    resolved = resolver.resolve(Found((), root), config, (), ())
    if not problems:
        problems.extend(resolver.follow_on)
    return resolved


class _Resolver:
    def __init__(self, root: Marked, config: Any, problems: list[Problem]) -> None:
        self.root = root
        self.problems = problems
        self.follow_on: list[Problem] = []
        self.origins: dict[int, Found] = {}
        self.configs: list[Any] = []
        self.made = 0
        self._remember(Found((), root), config)

    def _remember(self, origin: Found, config: Any) -> None:
        """Note which marked container each of OmegaConf's containers was made from."""
        self.origins[id(config)] = origin
        self.configs.append(config)
        for key, item in _items(origin):
            if isinstance(item.node.value, Mapping | list):
                self._remember(item, config[key])

    def resolve(self, origin: Found, config: Any, keys: Keys, above: tuple[int, ...]) -> Marked:
        """Resolve what was written at ``origin``, for its use at ``keys``."""
        node = origin.node
        if not isinstance(node.value, Mapping | list):
            return node
        if id(config) in above:
            self.problems.append(Problem(node.place, ".".join(keys), "this definition contains itself"))
            return replace(node, value=BROKEN)
        items = [
            (key, self.item(item, config, key, (*keys, str(key)), (*above, id(config))))
            for key, item in _items(origin)
        ]
        return replace(
            node, value=dict(items) if isinstance(node.value, Mapping) else [item for _, item in items]
        )

    def item(self, origin: Found, parent: Any, key: Any, keys: Keys, above: tuple[int, ...]) -> Marked:
        item = origin.node
        self.made += 1  # only here is it known how much the paths that are put together stand for
        if self.made > MOST_VALUES:
            raise UnreadableError(item.place, TOO_MANY)
        if isinstance(item.value, Mapping | list):
            return self.resolve(origin, parent[key], keys, above)
        if not isinstance(item.value, str) or INTERPOLATION not in item.value:
            return item
        try:
            found = parent[key]
        except OmegaConfBaseException:
            self.fault(origin, keys)
            return replace(item, value=BROKEN)
        if isinstance(found, str) and OF_BROKEN in found:
            return replace(item, value=BROKEN)
        if not isinstance(found, DictConfig | ListConfig):
            return replace(item, value=found, place=self.written_at(origin))
        made_from = self.origins.get(id(found))
        if made_from is None:
            computed = mark(OmegaConf.to_container(found, resolve=True), item.place)
            return replace(computed, key_place=item.key_place)
        return replace(self.resolve(made_from, found, keys, above), key_place=item.key_place)

    def written_at(self, origin: Found) -> Place:
        """Return where the value was written that a reference leads to, with the way from there."""
        item, last = origin.node, origin
        for _ in range(MOST_JUMPS):
            target = target_of(last.node, last.keys)
            found = find(self.root, target) if target is not None else None
            if found is None:
                break
            last = found
        node = last.node
        if node is item or not node.place.source:
            return item.place
        same_file = item.place.line and item.place.source == node.place.source
        return node.place.come(f"used in line {item.place.line}" if same_file else f"used at {item.place}")

    def fault(self, origin: Found, keys: Keys) -> None:
        """Say why a text can't be resolved, unless the reason lies in what it reads and is said there."""
        item, path, whole = origin.node, ".".join(keys), True
        # A relative reference counts from where it was written, wherever it is used.
        for read in reads(item.value, origin.keys):
            whole &= read.whole
            found = find(self.root, read.keys)
            if found is None and self.leads_nowhere(read.keys):
                return
            if found is None:
                message = f"{item.value}: {_missing(self.root, read.keys)}"
                self.problems.append(Problem(item.place, path, message))
                return
            if found.node.value is BROKEN:
                return
        problem = Problem(item.place, path, f"{item.value}: there is nothing of this name in the recipe")
        (self.follow_on if whole else self.problems).append(problem)

    def leads_nowhere(self, keys: Keys) -> bool:
        """Whether a reference on the way to ``keys`` is what names nothing."""
        above = [found for n in range(1, len(keys)) if (found := find(self.root, keys[:n]))]
        targets = [target_of(found.node, found.keys) for found in above]
        return any(target is not None and find(self.root, target) is None for target in targets)


def _items(holder: Found) -> list[tuple[Any, Found]]:
    value = holder.node.value
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return [(key, Found((*holder.keys, str(key)), item)) for key, item in items]


def _missing(root: Marked, keys: Keys) -> str:
    """Say which part of a path isn't there, with the nearest that is."""
    holder: Found | None = None
    known = 0
    while known < len(keys) and (found := find(root, keys[: known + 1])):
        holder, known = found, known + 1
    above, key = keys[:known], keys[min(known, len(keys) - 1)]
    if keys[0] == "env" and not above and len(keys) == 2:
        return f"there is no 'env' in the recipe; did you mean ${{env:{keys[1]}}}?"
    node = holder.node if holder else root
    names = list(node.value) if isinstance(node.value, Mapping) else []
    rest = keys[known + 1 :]
    fitting = [name for name in names if not rest or _has_parts(node.value[name])]
    near = nearest(key, fitting)
    definitions = at(root, ["definitions"])
    if not above and definitions and isinstance(definitions.value, Mapping):
        defined = [f"definitions.{name}" for name in definitions.value]
        names += defined
        near = f"definitions.{key}" if key in definitions.value else nearest(key, [*fitting, *defined])
    meant = ".".join([*above, *([near] if near else []), *rest])
    hint = f"did you mean ${{{meant}}}?" if near else f"there are: {', '.join(names) or 'none'}"
    return f"there is no '{key}' in {'.'.join(above) or 'the recipe'}; {hint}"


def _has_parts(node: Marked) -> bool:
    return isinstance(node.value, Mapping | list) or is_reference(node)
