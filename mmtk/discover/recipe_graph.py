"""A recipe as a graph: its stages in order with what each reads, and the components each is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mmtk.stages.graph import recipe_order
from mmtk.types import ComponentNode

if TYPE_CHECKING:
    from mmtk.recipe import CheckedRecipe


def as_tree(checked: CheckedRecipe) -> Iterator[str]:
    """Lines: each stage, what it reads, its components as a tree, and what it makes."""
    for name in recipe_order(checked):
        stage = checked.stages[name]
        yield f"{name} ({stage.node.use})"
        for source, output in sorted(stage.inputs):
            yield f"  <- {source}.{output}"
        yield from _branches(_children(stage.node), "  ")
        for output, made in stage.outputs.items():
            yield f"  -> {output} ({made.artifact})"


def as_mermaid(checked: CheckedRecipe) -> Iterator[str]:
    """Lines of a Mermaid flowchart: stages as boxes, and what flows between them on the arrows."""
    yield "flowchart TD"
    order = recipe_order(checked)
    ids = {name: f"s{number}" for number, name in enumerate(order)}
    for name in order:
        yield f'  {ids[name]}["{name}<br/><small>{checked.stages[name].node.use}</small>"]'
    for name in order:
        flows: dict[str, list[str]] = {}
        for source, output in sorted(checked.stages[name].inputs):
            flows.setdefault(source, []).append(output)
        for source, outputs in flows.items():
            yield f"  {ids[source]} -->|{', '.join(outputs)}| {ids[name]}"


def _children(node: ComponentNode) -> list[tuple[str, ComponentNode]]:
    return [found for key, value in node.keys.items() for found in _nodes(key, value)]


def _nodes(label: str, value: Any) -> Iterator[tuple[str, ComponentNode]]:
    """The components in a key's value, each with the key and its place below it."""
    if isinstance(value, ComponentNode):
        yield label, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _nodes(f"{label}.{key}", item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value, 1):
            yield from _nodes(f"{label} {number}" if len(value) > 1 else label, item)


def _branches(children: list[tuple[str, ComponentNode]], before: str) -> Iterator[str]:
    for number, (label, node) in enumerate(children, 1):
        last = number == len(children)
        yield f"{before}{'└' if last else '├'}─ {label}: {node.use}"
        yield from _branches(_children(node), f"{before}{'   ' if last else '│  '}")
