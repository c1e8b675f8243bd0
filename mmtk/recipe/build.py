"""From checked nodes to built components, and to plain data and back."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from mmtk.blame import blamed
from mmtk.config import Input
from mmtk.errors import RecipeError
from mmtk.recipe.marks import Marked, Place, mark
from mmtk.recipe.nodes import NodeChecker
from mmtk.recipe.overrides import argument_place, read_value
from mmtk.recipe.paths import path_fault
from mmtk.recipe.problems import Problem, recipe_error
from mmtk.recipe.references import Reference, map_leaves, registrations
from mmtk.recipe.site import Site
from mmtk.registry import Registry
from mmtk.types import ComponentNode


@dataclass(frozen=True)
class ComponentBlueprint:
    """A checked component that is not built yet; implements ``mmtk.kinds.Blueprint``.

    Attributes:
        node: the component and its keys, every input an absolute path.
        registry: where components are found.
    """

    node: ComponentNode
    registry: Registry

    @property
    def described(self) -> str:
        """The component with its origin, and the parts in it that another distribution brings, for messages.

        Raises RecipeError when no plugin offers one of them.
        """
        own = self.registry.get(self.node.kind, self.node.use)
        parts = registrations(self.node.keys, self.registry)
        foreign = [part.described for part in parts if part.distribution != own.distribution]
        return " with ".join([own.described, *([" and ".join(dict.fromkeys(foreign))] if foreign else [])])

    def build(self, **injected: Any) -> Any:
        """Import the factory and call it with the node's keys and those of ``injected`` that it takes.

        Raises:
            RecipeError: the factory doesn't take these keys, or refuses their values with a ValueError.
            PluginError: the factory can't be imported or called, or needs a module that isn't there.
        """
        registration = self.registry.get(self.node.kind, self.node.use)
        factory = registration.factory()
        who = f"{self.node.kind} '{self.node.use}' (from {registration.origin})"
        where = f"{self.node.place}  " if self.node.place else ""
        keys = {name: self._prepared(value) for name, value in self.node.keys.items()}
        signature = inspect.signature(factory)
        parameters = signature.parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            injected = {name: value for name, value in injected.items() if name in signature.parameters}
        try:
            signature.bind(**keys, **injected)
        except TypeError as error:
            raise RecipeError(f"{where}{who}: {registration.component.factory}: {error}") from error
        try:
            with blamed(who, "was built"):
                return factory(**keys, **injected)
        except ValueError as error:
            raise RecipeError(f"{where}{who} can't be built: {error}") from error

    def _prepared(self, value: Any) -> Any:
        """Put blueprints in the place of nodes."""
        if isinstance(value, ComponentNode):
            return ComponentBlueprint(value, self.registry)
        if isinstance(value, Mapping):
            return {key: self._prepared(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._prepared(item) for item in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [field.name for field in dataclasses.fields(value) if field.init]
            return dataclasses.replace(
                value, **{name: self._prepared(getattr(value, name)) for name in fields}
            )
        return value


def blueprint(node: ComponentNode, registry: Registry, inputs: Mapping[str, Path]) -> ComponentBlueprint:
    """Return what builds ``node``.

    Args:
        node: a checked node.
        registry: where its components are found.
        inputs: where the outputs lie that it refers to, by ``STAGE.OUTPUT``.

    Raises:
        RecipeError: a default or stored path can't be one on this machine.
    """

    def locate(value: Any) -> Any:
        if isinstance(value, Reference):
            return inputs[str(value)].absolute()
        if not isinstance(value, Path):
            return value
        if fault := path_fault(value):  # of a default, or stored elsewhere
            where = f"{node.place}  " if node.place else ""
            raise RecipeError(f"{where}{node.kind} '{node.use}': {fault}")
        return value.expanduser().absolute()

    return ComponentBlueprint(map_leaves(node, locate), registry)


def to_plain(value: Any) -> Any:
    """Return a node, or anything inside one, as JSON data with every default filled in."""
    if isinstance(value, ComponentNode):
        return {"use": value.use, **{name: to_plain(item) for name, item in value.keys.items()}}
    if isinstance(value, Reference):
        return {"from": str(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.init
        }
    return value


def from_plain(kind: str, data: Any, registry: Registry, where: str = "") -> ComponentNode:
    """Check data written by ``to_plain`` and return the node again. Files it names need not exist yet.

    Args:
        kind: of the component.
        data: its node.
        registry: where its components are found.
        where: where the data stands, for messages; stored, if it is left out.

    Raises:
        RecipeError: its component is unknown here, or takes other keys now.
    """
    problems: list[Problem] = []
    checker = NodeChecker(registry, _any_output, files=False)
    source = where or f"stored {kind}"
    node = checker.component(mark(data, Place(source)), kind, Site("", problems))
    if not isinstance(node, ComponentNode):
        raise recipe_error(source, problems)
    return node


def from_options(kind: str, use: str, options: Mapping[str, str], registry: Registry) -> ComponentNode:
    """Check a component that the command line names, with its keys as YAML text; files must exist.

    Raises:
        RecipeError: there is no such component, or a key is unknown or wrong.
    """
    registry.get(kind, use)
    problems: list[Problem] = []
    given: dict[str, Marked] = {"use": mark(use, Place("command line"))}
    for key, text in options.items():
        place = argument_place(f"{key}={text}")
        value = read_value(text, replace(place, column=len(key) + 2), problems)
        given[key] = replace(value, key_place=place)
    place = Place("command line")
    node = NodeChecker(registry, _any_output).component(Marked(given, place, place), kind, Site("", problems))
    if not isinstance(node, ComponentNode):
        raise recipe_error("command line", problems)
    return node


def _any_output(text: str, _wanted: Input | None) -> Reference:
    stage, _dot, output = text.partition(".")
    return Reference(stage, output)
