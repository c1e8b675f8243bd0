"""Writes ``docs/reference.md`` from the config dataclasses: ``python docs/make_reference.py``."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from mmtk.config import Input, NodeDefault, Range, Slot
from mmtk.kinds import KINDS
from mmtk.plugins import PluginInfo, load_plugins
from mmtk.recipe.check import Settings
from mmtk.recipe.field_docs import field_docs, sentence
from mmtk.recipe.schema import REQUIRED, Key, Schema, component_schema, dataclass_keys
from mmtk.recipe.wording import is_mapping, is_sequence
from mmtk.registry import Component, Registration

TARGET = Path(__file__).with_name("reference.md")
DISTRIBUTION = "mmtk"
INTRODUCTION = """\
# Reference

Made by `docs/make_reference.py` from the components' configs; don't edit it by hand.

Every component that comes with mmtk, by kind. A recipe names one with `use: NAME`, or with `use: PLUGIN/NAME`
where another plugin has a component of the same name. The other keys are those of its table.
[recipes.md](recipes.md) says how they are written, [plugins.md](plugins.md) what each kind is.

How types are written: *component head* is a mapping with `use:` that names a component of the kind `head`;
*artifact checkpoint* is `{from: STAGE.OUTPUT}` with an output of the type `checkpoint`, or a path; bounds of
numbers are written `[0, 1]` with both ends included and `(0, 1)` without them.
"""


def main() -> None:
    TARGET.write_text(reference(), encoding="utf-8")


def reference() -> str:
    """The whole page."""
    records: dict[str, type] = {}
    blocks = [INTRODUCTION, *_settings(records)]
    components = sorted(_registrations(), key=lambda one: one.component.name)
    for kind in KINDS:
        own = [one for one in components if one.component.kind == kind]
        blocks.append(f"## Kind `{kind}`\n")
        blocks += [_component(one, records) for one in own] or ["None comes with mmtk.\n"]
    blocks.append("## Nested keys\n\nMappings that stand in a key of a component and need no `use:`.\n")
    written: dict[str, str] = {}
    while waiting := records.keys() - written.keys():
        written |= {name: _record(records[name], records) for name in waiting}
    return "\n".join([*blocks, *(written[name] for name in sorted(written))])


def _registrations() -> Iterator[Registration]:
    for plugin in load_plugins().plugins:
        if plugin.distribution == DISTRIBUTION:
            yield from (_registration(plugin, component) for component in plugin.components)


def _registration(plugin: PluginInfo, component: Component) -> Registration:
    return Registration(component, plugin.name, plugin.distribution, plugin.version)


def _settings(records: dict[str, type]) -> list[str]:
    keys = _keys_table(dataclass_keys(Settings), Settings, records)
    text = "The keys of a recipe beside `extends`, `profiles`, `definitions` and `stages`.\n"
    return ["## The recipe\n", text, keys]


def _component(registration: Registration, records: dict[str, type]) -> str:
    component = registration.component
    schema = component_schema(registration)
    lines = [f"### `{component.name}`\n", f"{_about(schema, component)} Plugin `{registration.plugin}`.\n"]
    if schema.keys:
        lines.append(_keys_table(schema.keys, schema.config, records))
    else:
        lines.append("It takes no keys.\n")
    if schema.outputs:
        rows = [[f"`{name}`", one.artifact, f"`{one.path}`"] for name, one in schema.outputs.items()]
        lines.append(_table(["output", "artifact type", "in the stage's folder"], rows))
    return "\n".join(lines)


def _about(schema: Schema, component: Component) -> str:
    return sentence((schema.config and inspect.getdoc(schema.config)) or component.summary)


def _record(config: type, records: dict[str, type]) -> str:
    about = (inspect.getdoc(config) or "").partition("\nAttributes:")[0]
    table = _keys_table(dataclass_keys(config), config, records)
    return f"### {_title(config)}\n\n{sentence(about)}\n\n{table}"


def _title(config: type) -> str:
    return config.__name__.removesuffix("Config")


def _keys_table(keys: Mapping[str, Key], config: type | None, records: dict[str, type]) -> str:
    docs = field_docs(config) if config else {}
    rows = [
        [f"`{name}`", type_words(key.annotation, records), default_words(key.default), docs.get(name, "")]
        for name, key in keys.items()
    ]
    return _table(["key", "type", "default", "meaning"], rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def type_words(annotation: Any, records: dict[str, type], notes: Sequence[Any] = ()) -> str:
    """Say what a key takes; config dataclasses on the way are added to ``records``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(arguments[0], records, [*notes, *arguments[1:]])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_words(one, records, notes) for one in arguments))
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in arguments)
    if is_mapping(annotation):
        return f"mapping of {type_words(arguments[1], records, notes)}"
    if is_sequence(annotation):
        if origin is tuple and arguments[-1] is not ...:
            return f"list of {len(arguments)}: {type_words(arguments[0], records, notes)}"
        return f"list of {type_words(arguments[0], records, notes)}"
    for note in notes:
        if isinstance(note, Slot):
            return f"component [{note.kind}](#kind-{note.kind})"
        if isinstance(note, Input):
            return f"artifact {note.artifact}"
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        title = _title(annotation)
        assert records.setdefault(title, annotation) is annotation, f"two configs called {title}"
        return f"[{title}](#{title.lower()})"
    plain = {
        int: "whole number",
        float: "number",
        bool: "true or false",
        str: "text",
        Path: "path",
        Any: "anything",
    }
    bounds = [f" {_bounds(note)}" for note in notes if isinstance(note, Range) and annotation in (int, float)]
    return "".join([plain[annotation], *bounds])


def _bounds(range_: Range) -> str:
    if range_.high is None and range_.low is not None:
        return f"above {range_.low:g}" if range_.low_open else f"from {range_.low:g}"
    if range_.low == 0 and range_.high is not None and range_.high > 2**32:
        return "from 0"
    return f"in {range_}"


def default_words(default: Any) -> str:
    """Write a default as a recipe would."""
    return "**required**" if default is REQUIRED else f"`{_yaml(default)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, NodeDefault):
        return _yaml({"use": value.use, **value.keys})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            one.name: getattr(value, one.name)
            for one in dataclasses.fields(value)
            if getattr(value, one.name) != one.default
        }
        return _yaml(changed)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, Enum):
        return _yaml(value.value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if value != "" else '""'


if __name__ == "__main__":
    main()
