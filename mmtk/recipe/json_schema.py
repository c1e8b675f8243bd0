"""JSON Schema (draft 7) of recipes, made from what is installed: for editors."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from mmtk.config import NodeDefault
from mmtk.errors import MmtkError
from mmtk.kinds import KINDS
from mmtk.recipe.check import NAME
from mmtk.recipe.field_docs import sentence
from mmtk.recipe.json_types import JsonTypes, Schema, either, ref
from mmtk.recipe.profiles import KEYS as PROFILE_KEYS
from mmtk.recipe.schema import component_schema, dataclass_keys
from mmtk.recipe.settings import Settings
from mmtk.registry import Registration, Registry

DRAFT = "http://json-schema.org/draft-07/schema#"
PATH = {"type": "string", "minLength": 1}


def recipe_schema(registry: Registry) -> Schema:
    """Return the schema of a recipe.

    What only the whole of a recipe tells is left to ``mmtk check``: whether a stage is there and has the
    output, whether files exist, and contracts between fields. Of an output the name is looked at: some
    installed stage must make one of that name and of the right type. A recipe that extends another, a profile
    and a definition may leave required keys out.
    """
    definitions: dict[str, Schema] = {}
    whole = _Components(registry, definitions, partial=False)
    part = _Components(registry, definitions, partial=True)
    settings = whole.types.keys(dataclass_keys(Settings), Settings)["properties"]
    definitions["definition"] = part.anywhere()
    part_stages = _stages(part)
    named = {"type": ["object", "null"], "additionalProperties": ref("definition")}
    of_profile = {**settings, "definitions": named, "stages": part_stages}
    definitions["profile"] = {
        "type": ["object", "null"],
        "properties": {key: of_profile[key] for key in PROFILE_KEYS},
        "additionalProperties": False,
    }
    return {
        "$schema": DRAFT,
        "title": "mmtk recipe",
        "type": "object",
        "properties": {
            **settings,
            "extends": {
                **either([PATH, {"type": "array", "items": PATH}]),
                "description": "Recipes that this one changes, seen from this file; later ones win.",
            },
            "definitions": {
                **named,
                "description": "What the recipe names once and uses as ${definitions.NAME}.",
            },
            "profiles": {
                "type": ["object", "null"],
                "additionalProperties": ref("profile"),
                "description": "Named changes, laid over the recipe by --profile NAME.",
            },
            "stages": {"description": "The steps of the run, by name."},
        },
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "then": {"properties": {"stages": part_stages}},
        "else": {"required": ["stages"], "properties": {"stages": {**_stages(whole), "minProperties": 1}}},
        "definitions": definitions,
    }


def _stages(components: _Components) -> Schema:
    names = {"pattern": f"^{NAME.pattern}$"}
    stage = either([components.slot("stage"), ref("interpolation")])
    return {"type": "object", "propertyNames": names, "additionalProperties": stage}


class _Components:
    """Schemas of kinds and components; both are written once, into ``definitions``."""

    def __init__(self, registry: Registry, definitions: dict[str, Schema], *, partial: bool) -> None:
        self.registry = registry
        self.definitions = definitions
        self.partial = partial
        self.prefix = "part." if partial else ""
        self.types = JsonTypes(self.slot, definitions, partial, _outputs(registry))

    def slot(self, kind: str, default: Any = None) -> Schema:
        """Return the schema of a component of ``kind``; without ``use:`` it is the default one, if any."""
        if not isinstance(default, NodeDefault):
            return self.kind(kind)
        try:
            own = {"type": "object"} if self.partial else self.component(self.registry.get(kind, default.use))
        except MmtkError:
            own = {"type": "object"}
        return {"if": {"type": "object", "required": ["use"]}, "then": self.kind(kind), "else": own}

    def kind(self, kind: str) -> Schema:
        name = f"{self.prefix}kind.{kind}"
        if name not in self.definitions:
            self.definitions[name] = {}  # kinds hold each other
            registrations = self.registry.of_kind(kind)
            spelt = _spellings(self.registry, kind)
            self.definitions[name] = {
                "type": "object",
                "properties": {"use": self._use(f"The {kind}.", spelt.values())},
                "allOf": [
                    self._if_used(spelt[one.qualified_name], self._whole(one)) for one in registrations
                ],
                **({} if self.partial else {"required": ["use"]}),
            }
        return ref(name)

    def anywhere(self) -> Schema:
        """Return the schema of a definition: any value, in which ``use:`` names a component of any kind."""
        by_name: dict[str, list[Registration]] = {}
        for kind in KINDS:
            registrations = self.registry.of_kind(kind)
            for qualified, names in _spellings(self.registry, kind).items():
                registration = next(one for one in registrations if one.qualified_name == qualified)
                for name in names:
                    by_name.setdefault(name, []).append(registration)
        use = self._use("A component.", [list(by_name)])
        known = [
            self._if_used([name], either(list(map(self.component, found)))) for name, found in by_name.items()
        ]
        return {
            "if": {"type": "object", "required": ["use"]},
            "then": {"properties": {"use": use}, "allOf": known},
            "else": {"additionalProperties": ref("definition"), "items": ref("definition")},
        }

    def component(self, registration: Registration) -> Schema:
        """Return the schema of a component's keys, none of which is required."""
        component = registration.component
        name = f"{self.prefix}{component.kind}.{registration.qualified_name}".replace("/", ".")
        if name not in self.definitions:
            self.definitions[name] = {"type": "object"}
            try:
                schema = component_schema(registration)
            except MmtkError:  # it can't be read, which 'mmtk check' says; its keys are not looked at
                return ref(name)
            keys = self.types.keys(schema.keys, schema.config)
            about = (schema.config and inspect.getdoc(schema.config)) or component.summary
            described = {**keys, "description": sentence(about.partition("\nAttributes:")[0])}
            described["properties"] = {"use": {}, **keys["properties"]}
            self.definitions[name] = described
        return ref(name)

    def _whole(self, registration: Registration) -> Schema:
        own = self.component(registration)
        try:
            needed = self.types.required(component_schema(registration).keys)
        except MmtkError:
            return own
        return {"allOf": [own, {"required": needed}]} if needed else own

    def _use(self, about: str, spelt: Iterable[Iterable[str]]) -> Schema:
        names = sorted({name for names in spelt for name in names}, key=lambda name: ("/" in name, name))
        return {"anyOf": [{"enum": names}, ref("interpolation")], "description": about}

    def _if_used(self, names: list[str], then: Schema) -> Schema:
        return {"if": {"properties": {"use": {"enum": names}}, "required": ["use"]}, "then": then}


def _outputs(registry: Registry) -> dict[str, dict[str, list[str]]]:
    """The stages that make an output, by its artifact type and its name there.

    None at all where a stage can't be read, since that may make any of them.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for registration in registry.of_kind("stage"):
        try:
            outputs = component_schema(registration).outputs
        except MmtkError:
            return {}
        for name, output in outputs.items():
            found.setdefault(output.artifact, {}).setdefault(name, []).append(registration.component.name)
    return found


def _spellings(registry: Registry, kind: str) -> dict[str, list[str]]:
    """Return the names that a recipe may write for each component of a kind, by its qualified one."""
    return {
        one.qualified_name: list(dict.fromkeys([registry.spelling(one), one.qualified_name]))
        for one in registry.of_kind(kind)
    }
