"""What there is to say of one component: what it takes, gives and does, and how a recipe names it."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mmtk.discover.example import example_node
from mmtk.discover.kind_names import check_kind
from mmtk.errors import RecipeError
from mmtk.kinds import KINDS
from mmtk.recipe.field_docs import field_docs, sentence
from mmtk.recipe.key_words import KeyWords, default_words
from mmtk.recipe.schema import Key, Schema, component_schema, dataclass_keys
from mmtk.registry import Registration, Registry, a_kind, nearest

_DEPTH = 4  # of nested configs in each other


@dataclass(frozen=True)
class KeyPage:
    """A key: its type and default in words, the default empty where the key is required.

    Attributes:
        records: the nested configs that it takes, by their names in ``type``; each with its keys.
    """

    name: str
    type: str
    default: str
    meaning: str
    records: Mapping[str, tuple[KeyPage, ...]]


@dataclass(frozen=True)
class ComponentPage:
    """A component for people.

    Attributes:
        about: what it does.
        promise: what every component of its kind must do, with shapes.
        injected: what its factory is given beside its keys.
        outputs: of a stage: name, artifact type, path in its folder.
        example: a recipe node, as plain data.
        defined_in: file of its factory; empty if it can't be found.
        fault: why its factory can't be imported; empty if it can, or if it comes with mmtk and wasn't tried.
    """

    kind: str
    name: str
    plugin: str
    distribution: str
    version: str
    about: str
    promise: str
    injected: tuple[str, ...]
    keys: tuple[KeyPage, ...]
    outputs: tuple[tuple[str, str, str], ...]
    example: dict[str, Any]
    factory: str
    defined_in: str
    fault: str


def find_component(registry: Registry, words: list[str]) -> Registration:
    """Find what ``KIND NAME`` or ``NAME`` means. Raises RecipeError with the nearest spelling."""
    if len(words) == 2:
        kind, name = words
        check_kind(kind)
        return registry.get(kind, name)
    (name,) = words
    everything = [one for kind in KINDS for one in registry.of_kind(kind)]
    found = [one for one in everything if name in (one.component.name, one.qualified_name)]
    kinds = {one.component.kind for one in found}
    if len(kinds) == 1:
        return registry.get(kinds.pop(), name)
    if found:
        calls = " or ".join(f"'{one.component.kind} {one.qualified_name}'" for one in found)
        raise RecipeError(f"several components are called '{name}'; say {calls}")
    if name in KINDS:
        names = sorted({registry.spelling(one) for one in registry.of_kind(name)})
        raise RecipeError(
            f"'{name}' is a kind; say 'mmtk show {name} NAME' with one of: {', '.join(names) or 'none'}"
        )
    near = nearest(name, [one.component.name for one in everything])
    hint = f"did you mean '{near}'?" if near else "'mmtk list-plugins' lists them"
    raise RecipeError(f"there is no component '{name}'; {hint}")


def component_page(registration: Registration, registry: Registry) -> ComponentPage:
    """Collect the page. Raises PluginError when the component's config can't be read."""
    component = registration.component
    schema = component_schema(registration)
    kind = KINDS[component.kind]
    return ComponentPage(
        component.kind,
        component.name,
        registration.plugin,
        registration.distribution,
        registration.version,
        about=_about(schema) or sentence(component.summary),
        promise=_promise(kind.protocol),
        injected=kind.injected,
        keys=tuple(_keys(schema.keys, schema.config)),
        outputs=tuple((name, one.artifact, one.path) for name, one in schema.outputs.items()),
        example=example_node(registration, registry),
        factory=component.factory,
        defined_in=_file(component.factory),
        fault=registration.import_fault() or "",
    )


def _about(schema: Schema) -> str:
    if schema.config is None:
        return ""
    text = (schema.config.__doc__ and inspect.getdoc(schema.config)) or ""
    # A dataclass without a docstring gets its signature for one.
    return "" if text.startswith(f"{schema.config.__name__}(") else text.partition("\nAttributes:")[0].strip()


def _promise(protocol: type) -> str:
    """The protocol's sentences, and those of its methods, which have the shapes."""
    if protocol is object:
        return ""
    parts = [inspect.getdoc(protocol) or ""]
    for name, method in vars(protocol).items():
        if callable(method) and (name == "__call__" or not name.startswith("_")) and method.__doc__:
            called = "called with " if name == "__call__" else name
            shown = f"{called}{_signature(method)}"
            parts.append(f"{shown}\n{inspect.cleandoc(method.__doc__)}")
    return "\n\n".join(filter(None, parts))


def _signature(method: Any) -> str:
    signature = inspect.signature(method)
    own = [one for one in signature.parameters.values() if one.name != "self"]
    return str(signature.replace(parameters=own)).replace("'", "")


def _keys(keys: Mapping[str, Key], config: type | None, within: tuple[type, ...] = ()) -> Iterator[KeyPage]:
    """The keys with those of the nested configs they take, but for one that lies within itself."""
    docs = field_docs(config) if config else {}
    for name, key in keys.items():
        records: dict[str, type] = {}
        words = KeyWords(a_kind, partial(_note_record, records)).type(key.annotation)
        nested = {
            title: tuple(_keys(_left_out(record, key.default), record, (*within, record)))
            for title, record in records.items()
            if record not in within and len(within) < _DEPTH
        }
        yield KeyPage(name, words, default_words(key.default), docs.get(name, ""), nested)


def _note_record(records: dict[str, type], config: type) -> str:
    title = config.__name__.removesuffix("Config")
    records[title] = config
    return f"keys of {title}"


def _left_out(config: type, default: Any) -> Mapping[str, Key]:
    """A nested config's keys; those that a recipe leaves out come from the default of what holds them."""
    keys = dataclass_keys(config)
    if not isinstance(default, config):
        return keys
    return {name: Key(key.annotation, getattr(default, name)) for name, key in keys.items()}


def _file(factory: str) -> str:
    try:
        spec = importlib.util.find_spec(factory.partition(":")[0])
    except ImportError:
        return ""
    return spec.origin or "" if spec else ""
