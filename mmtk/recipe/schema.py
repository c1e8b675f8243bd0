"""Which keys a component takes: read from its config dataclass or from its factory's typed signature."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from mmtk.errors import PluginError
from mmtk.kinds import KINDS
from mmtk.registry import Registration
from mmtk.stages.context import Output

RESERVED = ("use", "from")


class Required:
    """Stands in the place of a default where there is none."""


REQUIRED = Required()


@dataclass(frozen=True)
class Key:
    """One key: its annotation, and its default or ``REQUIRED``."""

    annotation: Any
    default: Any = REQUIRED


@dataclass(frozen=True)
class Schema:
    """What a component takes and, if it is a stage, makes.

    Attributes:
        keys: by name.
        config: the dataclass the keys are the fields of; None where they are a factory's parameters.
        outputs: a stage's declared outputs.
    """

    keys: Mapping[str, Key]
    config: type | None = None
    outputs: Mapping[str, Output] = field(default_factory=dict)


def component_schema(registration: Registration) -> Schema:
    """Read a component's schema, importing its config, or its factory where it has no config.

    Raises:
        PluginError: they can't be imported, or their annotations can't be understood.
    """
    config = registration.config()
    try:
        if config is not None:
            schema = Schema(dataclass_keys(config), config, getattr(config, "OUTPUTS", {}))
        else:
            factory = registration.factory()
            injected = KINDS[registration.component.kind].injected
            schema = Schema(signature_keys(factory, injected), None, getattr(factory, "OUTPUTS", {}))
        for name in RESERVED:
            if name in schema.keys:
                raise TypeError(f"'{name}' has a meaning of its own in recipes and can't name a field")
    except (TypeError, NameError, AttributeError) as error:
        what = registration.component.config or registration.component.factory
        raise PluginError(
            f"{registration.component.kind} '{registration.component.name}' (from {registration.origin}):"
            f" {what} can't be read: {error}"
        ) from error
    return schema


@functools.cache
def dataclass_keys(config: type) -> Mapping[str, Key]:
    """The fields of a config dataclass.

    Raises:
        TypeError: it is no dataclass.
        NameError: an annotation names what its module doesn't import at run time.
    """
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise TypeError(f"{config!r} is no dataclass")
    hints = typing.get_type_hints(config, include_extras=True)
    return {one.name: Key(hints[one.name], _default(one)) for one in dataclasses.fields(config) if one.init}


def signature_keys(factory: Callable[..., Any], injected: tuple[str, ...]) -> Mapping[str, Key]:
    """The parameters of a factory without those that its kind injects.

    Raises:
        TypeError: a parameter can't be given by its name.
        NameError: an annotation can't be resolved.
    """
    function: Any = inspect.getattr_static(factory, "__init__") if isinstance(factory, type) else factory
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(factory).parameters.items()
        if name not in injected and parameter.kind is not parameter.VAR_KEYWORD
    }
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise TypeError(f"the parameter '{name}' can't be given by its name")
    annotations = {
        name: parameter.annotation
        for name, parameter in parameters.items()
        if parameter.annotation is not parameter.empty
    }
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    hints = typing.get_type_hints(
        SimpleNamespace(__annotations__=annotations), namespace, include_extras=True
    )
    return {
        name: Key(
            hints.get(name, Any),
            REQUIRED if parameter.default is parameter.empty else _default(parameter.default),
        )
        for name, parameter in parameters.items()
    }


def _default(value: Any) -> Any:
    """The default that a dataclass field (or a parameter written with ``node(…)``) stands for."""
    if not isinstance(value, dataclasses.Field):
        return value
    if value.default_factory is not dataclasses.MISSING:
        return value.default_factory()
    return REQUIRED if value.default is dataclasses.MISSING else value.default
