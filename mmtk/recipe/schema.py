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
from mmtk.recipe.annotations import refuse_unfillable
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
    component = registration.component
    config = registration.config()
    factory = registration.factory() if config is None else None
    try:
        if config is not None:
            schema = Schema(_fillable_keys(config), config, _outputs(config))
        else:
            assert factory is not None
            keys = signature_keys(factory, KINDS[component.kind].injected)
            _refuse_unfillable(keys, set())
            schema = Schema(keys, None, _outputs(factory))
        for name in RESERVED:
            if name in schema.keys:
                raise TypeError(f"'{name}' has a meaning of its own in recipes and can't name a field")
    except Exception as error:  # an annotation is code of the plugin, and so is the default of a field
        what = f"its config {component.config}" if component.config else f"its factory {component.factory}"
        raise PluginError(
            f"{component.kind} '{component.name}' (from {registration.origin}): {what} can't be read:"
            f" {_reason(error)}"
        ) from error
    return schema


def _outputs(stage: Any) -> Mapping[str, Output]:
    outputs = getattr(stage, "OUTPUTS", {})
    if isinstance(outputs, Mapping) and all(isinstance(one, Output) for one in outputs.values()):
        return outputs
    raise TypeError(f"OUTPUTS must be a mapping of names to Output(ARTIFACT, PATH), not {outputs!r}")


def _reason(error: Exception) -> str:
    """What an exception says, with its name where the text alone would tell too little."""
    said = " ".join(str(error).split())
    plain = isinstance(error, TypeError | NameError | SyntaxError) and said
    return said if plain else f"{type(error).__name__}: {said}"


@functools.cache
def _fillable_keys(config: type) -> Mapping[str, Key]:
    keys = dataclass_keys(config)
    _refuse_unfillable(keys, {config})
    return keys


def _refuse_unfillable(keys: Mapping[str, Key], seen: set[type]) -> None:
    """Look at keys and at those of nested configs but ``seen`` ones. Raises TypeError that names the key."""

    def record(config: type) -> None:
        if config in seen:
            return
        seen.add(config)
        try:
            nested = dataclass_keys(config)
        except Exception as error:
            raise TypeError(f"{config.__qualname__} can't be read: {_reason(error)}") from error
        _refuse_unfillable(nested, seen)

    for name, key in keys.items():
        try:
            refuse_unfillable(key.annotation, record)
        except TypeError as error:
            raise TypeError(f"'{name}': {error}") from error


@functools.cache
def dataclass_keys(config: type) -> Mapping[str, Key]:
    """The fields of a config dataclass.

    Raises:
        TypeError: it is no dataclass, or the default of a field can't be made.
        Exception: what an annotation raises; NameError for a name that isn't imported at run time.
    """
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise TypeError(f"{config!r} is no dataclass")
    hints = typing.get_type_hints(config, include_extras=True)
    return {
        one.name: Key(hints[one.name], _default(one.name, one))
        for one in dataclasses.fields(config)
        if one.init
    }


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
            REQUIRED if parameter.default is parameter.empty else _default(name, parameter.default),
        )
        for name, parameter in parameters.items()
    }


def _default(name: str, value: Any) -> Any:
    """The default that a dataclass field (or a parameter written with ``node(…)``) stands for."""
    if not isinstance(value, dataclasses.Field):
        return value
    if value.default_factory is not dataclasses.MISSING:
        try:
            return value.default_factory()
        except Exception as error:
            raise TypeError(f"'{name}': its default can't be made: {_reason(error)}") from error
    return REQUIRED if value.default is dataclasses.MISSING else value.default
