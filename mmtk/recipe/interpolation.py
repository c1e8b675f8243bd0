"""Replace every ``${…}`` by what it stands for, keeping the places of what was defined elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from mmtk.recipe.growth import MOST_VALUES, REFERENCE, refuse_growth
from mmtk.recipe.marks import BROKEN, INTERPOLATION, Marked, Patched, at, is_reference, mark, merge, plain
from mmtk.recipe.problems import Problem, UnreadableError, join
from mmtk.recipe.variables import HOW_TO_WRITE, fill_variables
from mmtk.registry import nearest

MISSING = "???"
DEEPEST = 30
CALL: Any = OmegaConfGrammarParser.InterpolationResolverContext


def resolve(root: Marked, problems: list[Problem]) -> Marked:
    """Resolve every interpolation in ``root`` with OmegaConf; what can't be resolved becomes BROKEN.

    Raises RecipeError where references would make far more of a recipe than it can be.
    """
    root = _Patches(root, problems).apply(root, "")
    root = fill_variables(root, problems)
    root = _check_syntax(root, "", problems)
    refuse_growth(root)
    config = OmegaConf.create(plain(root))
    return _Resolver(root, config, problems).resolve(root, config, "", ())


class _Patches:
    """Turns each changed reference into a copy of what it refers to, with the changes laid over it."""

    def __init__(self, root: Marked, problems: list[Problem]) -> None:
        self.root = root
        self.problems = problems
        self.followed = 0

    def apply(self, node: Marked, path: str, depth: int = 0) -> Marked:
        """Replace the changed references in ``node``; ``depth`` of them have been entered before."""
        value = node.value
        if isinstance(value, Patched):
            self.followed += 1
            if self.followed > MOST_VALUES:
                raise UnreadableError(node.place, f"more than {MOST_VALUES:,} changed references")
            base = self.target(value.reference, path, depth)
            if base.value is BROKEN:
                return base
            changed = merge(base, Marked(value.changes, node.place))
            return self.apply(replace(changed, key_place=node.key_place), path, depth + 1)
        if isinstance(value, Mapping):
            items = {key: self.apply(item, join(path, key), depth) for key, item in value.items()}
            return replace(node, value=items)
        if isinstance(value, list):
            return replace(
                node, value=[self.apply(item, join(path, i), depth) for i, item in enumerate(value)]
            )
        return node

    def target(self, reference: Marked, path: str, depth: int) -> Marked:
        """Find the mapping that ``${a.b}`` names, through further references."""
        keys = reference.value[2:-1].replace("[", ".").replace("]", "").split(".")
        found = at(self.root, keys)
        fault = "names no mapping whose keys could be changed here"
        if depth > DEEPEST:
            fault = "contains itself"
        elif found is not None:
            if isinstance(found.value, Mapping):
                return found
            if isinstance(found.value, Patched):
                return self.apply(found, path, depth + 1)
            if is_reference(found):
                return self.target(found, path, depth + 1)
        self.problems.append(Problem(reference.place, path, f"{reference.value} {fault}"))
        return Marked(BROKEN, reference.place)


def _check_syntax(node: Marked, path: str, problems: list[Problem]) -> Marked:
    """Break every text whose ``${`` OmegaConf can't read or may not compute; it is given the others."""
    value = node.value
    if isinstance(value, Mapping):
        return replace(
            node, value={k: _check_syntax(item, join(path, k), problems) for k, item in value.items()}
        )
    if isinstance(value, list):
        items = [_check_syntax(item, join(path, i), problems) for i, item in enumerate(value)]
        return replace(node, value=items)
    if value == MISSING:
        problems.append(Problem(node.named_at, path, f"has no value yet; set it, e.g. with {path}=VALUE"))
        return replace(node, value=BROKEN)
    if isinstance(value, str) and INTERPOLATION in value and (fault := _fault_of(value)):
        problems.append(Problem(node.place, path, fault))
        return replace(node, value=BROKEN)
    return node


def _fault_of(text: str) -> str | None:
    """Say why a text with ``${`` can't be resolved: its syntax, or a function that it calls."""
    try:
        waiting = [parse(text)]
    except OmegaConfBaseException as error:
        return f"can't read the interpolation: {_first_line(error)}"
    except RecursionError:
        return "can't read the interpolation: nested too deeply"
    while waiting:
        tree = waiting.pop()
        if isinstance(tree, CALL):
            name = tree.resolverName().getText()
            if name == "env":
                return f"{tree.getText()}: write {HOW_TO_WRITE}"
            hint = f"; environment variables are written {HOW_TO_WRITE}" if name == "oc.env" else ""
            return f"{tree.getText()}: a recipe calls no functions, and '{name}' is one{hint}"
        waiting.extend(getattr(tree, "children", None) or [])
    return None


class _Resolver:
    def __init__(self, root: Marked, config: Any, problems: list[Problem]) -> None:
        self.root = root
        self.problems = problems
        self.origins: dict[int, Marked] = {}
        self.configs: list[Any] = []
        self._remember(root, config)

    def _remember(self, node: Marked, config: Any) -> None:
        """Note which marked container each of OmegaConf's containers was made from."""
        self.origins[id(config)] = node
        self.configs.append(config)
        for key, item in _items(node):
            if isinstance(item.value, Mapping | list):
                self._remember(item, config[key])

    def resolve(self, node: Marked, config: Any, path: str, above: tuple[int, ...]) -> Marked:
        if not isinstance(node.value, Mapping | list):
            return node
        if id(config) in above:
            self.problems.append(Problem(node.place, path, "this definition contains itself"))
            return replace(node, value=BROKEN)
        items = [
            (key, self.item(item, config, key, join(path, key), (*above, id(config))))
            for key, item in _items(node)
        ]
        return replace(
            node, value=dict(items) if isinstance(node.value, Mapping) else [item for _, item in items]
        )

    def item(self, item: Marked, parent: Any, key: Any, path: str, above: tuple[int, ...]) -> Marked:
        if isinstance(item.value, Mapping | list):
            return self.resolve(item, parent[key], path, above)
        if not isinstance(item.value, str) or INTERPOLATION not in item.value:
            return item
        try:
            found = parent[key]
        except OmegaConfBaseException as error:
            fault = _missing(self.root, item.value) or _first_line(error)
            self.problems.append(Problem(item.place, path, f"{item.value}: {fault}"))
            return replace(item, value=BROKEN)
        if not isinstance(found, DictConfig | ListConfig):
            return replace(item, value=found)
        origin = self.origins.get(id(found))
        if origin is None:
            computed = mark(OmegaConf.to_container(found, resolve=True), item.place)
            return replace(computed, key_place=item.key_place)
        return replace(self.resolve(origin, found, path, above), key_place=item.key_place)


def _items(node: Marked) -> list[tuple[Any, Marked]]:
    return list(node.value.items() if isinstance(node.value, Mapping) else enumerate(node.value))


def _missing(root: Marked, text: str) -> str | None:
    """Say which part of a reference in ``text`` isn't there, with the nearest that is; None if all are."""
    for dots, path in REFERENCE.findall(text):
        keys = path.replace("[", ".").replace("]", "").split(".")
        known = next((n for n in range(len(keys)) if at(root, keys[: n + 1]) is None), None)
        if dots or known is None:
            continue
        above, key = keys[:known], keys[known]
        holder = at(root, above)
        names = list(holder.value) if holder is not None and isinstance(holder.value, Mapping) else []
        definitions = at(root, ["definitions"])
        if not above and definitions and isinstance(definitions.value, Mapping):
            names += [f"definitions.{name}" for name in definitions.value]
            near = next((name for name in names if name == f"definitions.{key}"), None) or nearest(key, names)
        else:
            near = nearest(key, names)
        meant = ".".join([*above, *([near] if near else []), *keys[known + 1 :]])
        hint = f"did you mean ${{{meant}}}?" if near else f"there are: {', '.join(names) or 'none'}"
        return f"there is no '{key}' in {'.'.join(above) or 'the recipe'}; {hint}"
    return None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
