"""Writes ``docs/reference.md`` from the config dataclasses: ``python docs/make_reference.py``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmtk.kinds import KINDS
from mmtk.plugins import PluginInfo, load_plugins
from mmtk.recipe.field_docs import field_docs, sentence
from mmtk.recipe.key_words import KeyWords, default_words
from mmtk.recipe.schema import Key, Schema, component_schema, dataclass_keys
from mmtk.recipe.settings import Settings
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
    words = KeyWords(
        lambda kind: f"component [{kind}](#kind-{kind})", lambda config: _record_link(config, records)
    )
    rows = [
        [f"`{name}`", words.type(key.annotation), _default(key.default), docs.get(name, "")]
        for name, key in keys.items()
    ]
    return _table(["key", "type", "default", "meaning"], rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _record_link(config: type, records: dict[str, type]) -> str:
    """Link a config dataclass, which is added to ``records``."""
    title = _title(config)
    assert records.setdefault(title, config) is config, f"two configs called {title}"
    return f"[{title}](#{title.lower()})"


def _default(default: Any) -> str:
    return f"`{words}`" if (words := default_words(default)) else "**required**"


if __name__ == "__main__":
    main()
