"""JSON Schema of what keys take: from the annotations of configs."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

from mmtk.config import Address, Input, NodeDefault, Range, Slot
from mmtk.recipe.annotations import without_new_types
from mmtk.recipe.build import to_plain
from mmtk.recipe.field_docs import field_docs, sentence
from mmtk.recipe.schema import REQUIRED, Key, dataclass_keys
from mmtk.recipe.wording import is_mapping, is_sequence

Schema = dict[str, Any]
Makers = Mapping[str, Sequence[str]]
# ${…} can stand for anything, and ??? is for the command line to fill in.
INTERPOLATION: Schema = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}
PLAIN: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    Path: {"type": "string"},
    Address: {"type": "string"},
    type(None): {"type": "null"},
}


def ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def output_schema(artifact: str = "", makers: Makers = MappingProxyType({})) -> Schema:
    """Return the schema of ``{from: STAGE.OUTPUT}``.

    Args:
        artifact: the type that is needed.
        makers: the stages that make it, by their outputs' names; of none any name will do.
    """
    names = "|".join(sorted(makers)) if makers else r"[\w-]+"
    source: Schema = {"type": "string", "pattern": rf"^[A-Za-z0-9][\w-]*\.({names})$|\$\{{"}
    about = "An output of another stage."
    if makers:
        source["examples"] = [f"STAGE.{name}" for name in sorted(makers)]
        made = "; ".join(f"STAGE.{name} of {', '.join(stages)}" for name, stages in sorted(makers.items()))
        about = f"An output of another stage, of the type {artifact}: {made}."
    return {
        "type": "object",
        "description": about,
        "properties": {"from": source},
        "required": ["from"],
        "additionalProperties": False,
    }


def either(alternatives: list[Schema]) -> Schema:
    """Return the schema of what fits one of ``alternatives``; one that takes anything makes all of it so."""
    flat: list[Schema] = []
    for one in alternatives:
        for part in one["anyOf"] if set(one) == {"anyOf"} else [one]:
            if not part:
                return {}
            if part not in flat:
                flat.append(part)
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


@dataclasses.dataclass(frozen=True)
class Notes:
    """What ``Annotated`` says, and the default."""

    slot: Slot | None = None
    input: Input | None = None
    range: Range | None = None
    default: Any = REQUIRED


class JsonTypes:
    """Writes the schemas of keys; configs and kinds on the way go into ``definitions``.

    Args:
        component: returns the schema of a slot, given its kind and the field's default.
        definitions: what ``$ref`` names.
        partial: for recipes on top of others, which leave required keys out.
        outputs: by artifact type, which stages make it under which names.
    """

    def __init__(
        self,
        component: Callable[[str, Any], Schema],
        definitions: dict[str, Schema],
        partial: bool,
        outputs: Mapping[str, Makers],
    ) -> None:
        self._component = component
        self._definitions = definitions
        self._partial = partial
        self._outputs = outputs
        definitions["interpolation"] = INTERPOLATION

    def keys(self, keys: Mapping[str, Key], config: type | None) -> Schema:
        """Return the schema of a mapping with these keys and no others, none of them required."""
        docs = field_docs(config) if config else {}
        properties = {name: self.key(key, docs.get(name, "")) for name, key in keys.items()}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def key(self, key: Key, doc: str) -> Schema:
        value = self.value(key.annotation, Notes(default=key.default))
        described = {**value, **({"description": doc} if doc else {})}
        if key.default is REQUIRED:
            return described
        default = _as_json(key.default)
        return described if default is REQUIRED else {**described, "default": default}

    def value(self, annotation: Any, notes: Notes = Notes()) -> Schema:
        """Return the schema of a value, or of ``${…}`` in its place."""
        found = self._value(annotation, notes)
        takes_any_text = found in ({}, PLAIN[str]) or PLAIN[str] in found.get("anyOf", [])
        return found if takes_any_text else either([found, ref("interpolation")])

    def _value(self, annotation: Any, notes: Notes) -> Schema:
        annotation, notes = _unwrap(annotation, notes)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if annotation is Any or (annotation is object and notes.slot is None):
            return {}
        if origin in (typing.Union, types.UnionType):
            return either([self._value(one, notes) for one in arguments])
        if annotation is type(None):
            return PLAIN[annotation]
        if is_mapping(annotation):
            return self._mapping(arguments[1] if arguments else Any, notes)
        if is_sequence(annotation):
            return self._sequence(
                origin, arguments or (Any, ...), dataclasses.replace(notes, default=REQUIRED)
            )
        if notes.slot is not None:
            return self._component(notes.slot.kind, notes.default)
        if annotation is Path and notes.input is not None:
            return {"anyOf": [PLAIN[Path], self._output(notes.input.artifact)]}
        if origin is Literal:
            return {"enum": list(arguments)}
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return {"enum": [one.value for one in annotation]}
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            return self.record(annotation, notes.default)
        plain = PLAIN.get(annotation, {})
        return {**plain, **_bounds(notes.range)} if annotation in (int, float) else plain

    def _output(self, artifact: str) -> Schema:
        makers = self._outputs.get(artifact, {})
        name = f"output.{artifact}" if makers else "output"
        self._definitions[name] = output_schema(artifact, makers)
        return ref(name)

    def _mapping(self, inner: Any, notes: Notes) -> Schema:
        given = notes.default if isinstance(notes.default, Mapping) else {}
        named = {
            name: self.value(inner, dataclasses.replace(notes, default=default))
            for name, default in given.items()
            if isinstance(default, NodeDefault)
        }
        rest = self.value(inner, dataclasses.replace(notes, default=REQUIRED))
        return {"type": "object", "properties": named, "additionalProperties": rest}

    def _sequence(self, origin: Any, arguments: tuple[Any, ...], notes: Notes) -> Schema:
        if origin is not tuple or arguments[-1] is ...:
            return {"type": "array", "items": self.value(arguments[0], notes)}
        items = [self.value(one, notes) for one in arguments]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}

    def record(self, config: type, default: Any = REQUIRED) -> Schema:
        """Return the schema of a nested config, whose keys are required where there is no default of it."""
        prefix = "part." if self._partial else ""
        name = f"{prefix}{config.__module__}.{config.__qualname__}"
        keys = dataclass_keys(config)
        if name not in self._definitions:
            self._definitions[name] = {}  # a config may hold itself
            about = (inspect.getdoc(config) or "").partition("\nAttributes:")[0]
            self._definitions[name] = {**self.keys(keys, config), "description": sentence(about)}
        needed = [] if isinstance(default, config) else self.required(keys)
        return {"allOf": [ref(name), {"required": needed}]} if needed else ref(name)

    def required(self, keys: Mapping[str, Key]) -> list[str]:
        return [] if self._partial else [name for name, key in keys.items() if key.default is REQUIRED]


def _unwrap(annotation: Any, notes: Notes) -> tuple[Any, Notes]:
    annotation = without_new_types(annotation)
    while get_origin(annotation) is Annotated:
        annotation, *said = get_args(annotation)
        annotation = without_new_types(annotation)
        for note in said:
            if isinstance(note, Slot):
                notes = dataclasses.replace(notes, slot=note)
            elif isinstance(note, Input):
                notes = dataclasses.replace(notes, input=note)
            elif isinstance(note, Range):
                notes = dataclasses.replace(notes, range=note)
    return annotation, notes


def _bounds(range_: Range | None) -> Schema:
    if range_ is None:
        return {}
    low = "exclusiveMinimum" if range_.low_open else "minimum"
    high = "exclusiveMaximum" if range_.high_open else "maximum"
    given = {low: range_.low, high: range_.high}
    return {name: bound for name, bound in given.items() if bound is not None and math.isfinite(bound)}


def _as_json(value: Any) -> Any:
    """A default as JSON; REQUIRED where it is none, as infinity."""
    plain = to_plain(_nodes_as_mappings(value))
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError):
        return REQUIRED
    return plain


def _nodes_as_mappings(value: Any) -> Any:
    if isinstance(value, NodeDefault):
        return {"use": value.use, **value.keys}
    if isinstance(value, Mapping):
        return {key: _nodes_as_mappings(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: _nodes_as_mappings(getattr(value, name)) for name in fields}
    return value
